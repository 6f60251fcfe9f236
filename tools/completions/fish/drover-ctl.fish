# fish completion for drover-ctl(1)

set -l commands status reload stop signal start restart reread why events timeline holders reopen release shutdown
set -l none "not __fish_seen_subcommand_from $commands"

complete -c drover-ctl -f
complete -c drover-ctl -s s -l socket -r -F -d 'Ask the server of this control socket'
complete -c drover-ctl -s p -l pidfile -r -F -d 'Ask the server of this pidfile, PIDFILE.sock'
complete -c drover-ctl -s w -l wait -x -a '5s 30s 2m' -d 'Wait at most this long for the end'
complete -c drover-ctl -l json -d 'Write the answer as JSON'
complete -c drover-ctl -l trace -d 'With timeline: write Chrome trace events'
complete -c drover-ctl -l since -x -d 'With events: begin behind this number'
complete -c drover-ctl -l dry-run -d 'With reread: say what would change'
complete -c drover-ctl -l kill -d 'With release: end those who keep the lock'
complete -c drover-ctl -l group -d 'With signal: to the whole process group'
complete -c drover-ctl -s q -l quiet -d 'Say no steps, only errors and warnings'
complete -c drover-ctl -s v -l verbose -d 'Say which socket is asked, too'
complete -c drover-ctl -s h -l help -d 'Show a short help'
complete -c drover-ctl -l version -d 'Show the version'
complete -c drover-ctl -n $none -a status -d 'Masters, workers, holders, the last reload'
complete -c drover-ctl -n $none -a reload -d 'Replace the code without a gap, or roll back'
complete -c drover-ctl -n $none -a stop -d 'Stop the server, or a companion'
complete -c drover-ctl -n $none -a signal -d 'Send a signal to the master, or a companion'
complete -c drover-ctl -n $none -a start -d 'Start a companion'
complete -c drover-ctl -n $none -a restart -d 'Restart a companion'
complete -c drover-ctl -n $none -a reread -d 'Read the file of the companions again'
complete -c drover-ctl -n $none -a why -d 'Why a companion is in its state'
complete -c drover-ctl -n $none -a events -d 'Follow what happens'
complete -c drover-ctl -n $none -a timeline -d 'The last reload as bars'
complete -c drover-ctl -n $none -a holders -d 'The processes that hold the lock'
complete -c drover-ctl -n $none -a reopen -d 'Open the logs of companions anew'
complete -c drover-ctl -n $none -a release -d 'Who else keeps the lock of a companion'
complete -c drover-ctl -n $none -a shutdown -d 'Stop the manager of companions'
complete -c drover-ctl -n '__fish_seen_subcommand_from signal' -a 'QUIT TERM INT HUP USR1 USR2 WINCH TTIN TTOU'
