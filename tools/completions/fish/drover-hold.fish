# fish completion for drover-hold(1)

# Prints COMMAND as typed so far. Status 0: the cursor is behind LOCK; 1: LOCK is still to come;
# 2: --pidfile stands for LOCK, and more options may come.
function __drover_hold_command
    set -l words (commandline -opc)[2..]
    set -l before 1
    while set -q words[1]
        switch $words[1]
            case --pidfile
                set before 2
                set -e words[1]
            case '--pidfile=*'
                set before 2
            case -w --timeout -E --conflict-exit-code --fd --mode --adopt
                set -e words[1]
            case --
                test $before -eq 2; and set before 0
            case '-*'
            case '*'
                set -l lock_seen $before
                set before 0
                test $lock_seen -eq 1; or break
        end
        set -e words[1]
    end
    string join -- ' ' $words (commandline -ct)
    return $before
end

function __drover_hold_at
    __drover_hold_command >/dev/null
    contains -- $status $argv
end

complete -c drover-hold -f
complete -c drover-hold -n '__drover_hold_at 1' -F
complete -c drover-hold -n '__drover_hold_at 0 2' -a '(complete --do-complete=(__drover_hold_command))'
complete -c drover-hold -n '__drover_hold_at 1 2' -s x -l exclusive -d 'Wait until the last process of the previous holder is gone'
complete -c drover-hold -n '__drover_hold_at 1 2' -s n -l nonblock -d 'Do not wait for the lock'
complete -c drover-hold -n '__drover_hold_at 1 2' -s w -l timeout -x -a '5s 30s 1m' -d 'Wait at most this long'
complete -c drover-hold -n '__drover_hold_at 1 2' -s E -l conflict-exit-code -x -d 'Exit code when the lock is busy'
complete -c drover-hold -n '__drover_hold_at 1 2' -l fd -x -a 'high low' -d 'Descriptor of the lock'
complete -c drover-hold -n '__drover_hold_at 1 2' -l mode -x -a '0600 0640 0660' -d 'Mode of a lock file that is made'
complete -c drover-hold -n '__drover_hold_at 1 2' -l new -d 'A fresh generation: put a new file there once nobody holds the lock'
complete -c drover-hold -n '__drover_hold_at 1 2' -l guard -d 'Stay as parent and keep the lock until the last descendant is gone'
complete -c drover-hold -n '__drover_hold_at 1 2' -l pidfile -r -F -d 'PIDFILE.lock is the lock'
complete -c drover-hold -n '__drover_hold_at 1 2' -l adopt -x -d 'Lock a descriptor of the caller, and exit'
complete -c drover-hold -n '__drover_hold_at 1 2' -s q -l quiet -d 'Say nothing but errors and warnings'
complete -c drover-hold -n '__drover_hold_at 1 2' -s v -l verbose -d 'Say which descriptor holds the lock, too'
complete -c drover-hold -n '__drover_hold_at 1 2' -s h -l help -d 'Show a short help'
complete -c drover-hold -n '__drover_hold_at 1 2' -l version -d 'Show the version'
