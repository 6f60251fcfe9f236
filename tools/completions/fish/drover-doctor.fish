# fish completion for drover-doctor(1)

# Prints COMMAND as typed so far; fails while options may come.
function __drover_doctor_command
    set -l words (commandline -opc)[2..]
    while set -q words[1]
        switch $words[1]
            case --
                set -e words[1]
                break
            case --json -q --quiet -v --verbose '--*=*'
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

complete -c drover-doctor -f
complete -c drover-doctor -n '__drover_doctor_command >/dev/null' -a '(complete --do-complete=(__drover_doctor_command))'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -a '(__fish_complete_command)'
set -l times '1s 5s 30s 1m 5m'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -s p -l pidfile -r -F -d 'Where the server writes its master\'s number'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -l dialect -x -a 'auto unicorn gunicorn nginx puma haproxy php-fpm uwsgi plain' -d 'How the server hot-reloads'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -s t -l boot-timeout -x -a $times -d 'How long the start may take'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -l ready-timeout -x -a $times -d 'How long workers may take to serve'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -l json -d 'Write one JSON object'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -s q -l quiet -d 'Write findings only'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -s v -l verbose -d 'Pass on what the server writes, too'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -s h -l help -d 'Show a short help'
complete -c drover-doctor -n 'not __drover_doctor_command >/dev/null' -l version -d 'Show the version'
