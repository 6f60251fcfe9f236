# fish completion for drover-ls(1)

complete -c drover-ls -l tree -d 'Show the processes as a tree'
complete -c drover-ls -l json -d 'Write one JSON object'
complete -c drover-ls -l pids -d 'Write only the pids of the holders'
complete -c drover-ls -l open -d 'List who has the file open without holding it, too'
complete -c drover-ls -l waiters -d 'List who is blocked waiting for the lock, too'
complete -c drover-ls -l pidfile -r -F -d 'Show the lock of this pidfile, PIDFILE.lock'
complete -c drover-ls -s q -l quiet -d 'Write no table: only the exit status tells'
complete -c drover-ls -s v -l verbose -d 'Say how many processes could not be inspected, too'
complete -c drover-ls -s h -l help -d 'Show a short help'
complete -c drover-ls -l version -d 'Show the version'
