# fish completion for drover-herd(1)

# Prints COMMAND as typed so far; fails while options may come.
function __drover_herd_command
    set -l words (commandline -opc)[2..]
    while set -q words[1]
        switch $words[1]
            case --
                set -e words[1]
                break
            case -q --quiet -v --verbose '--*=*'
            case '-*'
                set -e words[1]
            case '*'
                break
        end
        set -e words[1]
    end
    set -q words[1]; or return 1
    string join -- ' ' $words (commandline -ct)
end

complete -c drover-herd -f
complete -c drover-herd -n '__drover_herd_command >/dev/null' -a '(complete --do-complete=(__drover_herd_command))'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -a '(__fish_complete_command)'
set -l times '1s 5s 30s 1m 5m'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -s p -l pidfile -r -F -d 'Where the server writes its master\'s number'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l lock -r -F -d 'The lock, in place of PIDFILE.lock'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l control -r -F -a none -d 'The control socket, or none'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l dialect -x -a 'auto unicorn gunicorn nginx puma haproxy php-fpm uwsgi plain' -d 'How the server hot-reloads'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l if-running -x -a 'adopt refuse replace' -d 'When the server runs already'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -s t -l boot-timeout -x -a $times -d 'How long the first start may take'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l check -x -d 'A shell command that must succeed before a reload'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l probe -x -a 'tcp: unix: http: exec:' -d 'What tells that the successor serves'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l settle -x -a $times -d 'How long the new workers have to serve'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l ready-timeout -x -a $times -d 'Roll back when the successor takes longer'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -s o -l overlap -x -a $times -d 'Keep both generations this long'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l retire -x -a 'all one-by-one' -d 'How the old generation goes'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l drain-timeout -x -a $times -d 'How long the old generation may drain'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l stop-signal -x -a 'QUIT TERM INT' -d 'Pass TERM on as this signal'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l stop-timeout -x -a $times -d 'How long a stop may take'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l companions -r -F -d 'Run the background processes of FILE beside it'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l trace -r -F -d 'Append reloads as trace events'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l orphans -x -a 'wait term kill' -d 'Workers whose master died'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -s q -l quiet -d 'Say nothing but errors and warnings'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -s v -l verbose -d 'Say each step'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -s h -l help -d 'Show a short help'
complete -c drover-herd -n 'not __drover_herd_command >/dev/null' -l version -d 'Show the version'
