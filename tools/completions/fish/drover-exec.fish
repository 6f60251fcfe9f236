# fish completion for drover-exec(1)

# Prints COMMAND as typed so far. Status 0: the cursor is behind "--"; 1: options may come; 2: behind a wrapper.
function __drover_exec_command
    set -l words (commandline -opc)[2..]
    while set -q words[1]
        switch $words[1]
            case --diff --import --print-hook --ruby --python --node --app
                set -e words[1]
            case --
                string join -- ' ' $words[2..] (commandline -ct)
                return 0
            case '-*'
            case '*'
                return 2
        end
        set -e words[1]
    end
    return 1
end

function __drover_exec_at
    __drover_exec_command >/dev/null
    contains -- $status $argv
end

complete -c drover-exec -f
complete -c drover-exec -n '__drover_exec_at 1 2' -F
complete -c drover-exec -n '__drover_exec_at 0' -a '(complete --do-complete=(__drover_exec_command))'
complete -c drover-exec -n '__drover_exec_at 1' -l explain -d 'Show each decision with its reason, run nothing'
complete -c drover-exec -n '__drover_exec_at 1' -l diff -x -d 'Show what a reload of this process would change'
complete -c drover-exec -n '__drover_exec_at 1' -l check -d 'Check that it would run'
complete -c drover-exec -n '__drover_exec_at 1' -l import -r -F -d 'Source a script once, print its changes'
complete -c drover-exec -n '__drover_exec_at 1' -l print-hook -x -a 'unicorn gunicorn puma' -d 'Print what this server needs'
complete -c drover-exec -n '__drover_exec_at 1' -l json -d 'Write one JSON object'
complete -c drover-exec -n '__drover_exec_at 1' -l show-secrets -d 'Do not mask what looks like a secret'
complete -c drover-exec -n '__drover_exec_at 1' -l ruby -x -a 'auto system none' -d 'The ruby'
complete -c drover-exec -n '__drover_exec_at 1' -l python -x -a 'auto system none' -d 'The python'
complete -c drover-exec -n '__drover_exec_at 1' -l node -x -a 'auto system none' -d 'The node'
complete -c drover-exec -n '__drover_exec_at 1' -l app -r -F -d 'The folder of the application'
complete -c drover-exec -n '__drover_exec_at 1' -l insecure-paths -d 'Use what others could change'
complete -c drover-exec -n '__drover_exec_at 1' -s q -l quiet -d 'Say nothing but errors and warnings'
complete -c drover-exec -n '__drover_exec_at 1' -s v -l verbose -d 'Say each decision'
complete -c drover-exec -n '__drover_exec_at 1' -s h -l help -d 'Show a short help'
complete -c drover-exec -n '__drover_exec_at 1' -l version -d 'Show the version'
