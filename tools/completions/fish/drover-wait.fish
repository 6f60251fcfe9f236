# fish completion for drover-wait(1)

complete -c drover-wait -s w -l timeout -x -a '5s 30s 1m' -d 'Give up after this long'
complete -c drover-wait -s E -l conflict-exit-code -x -d 'Exit code when still held at the limit'
complete -c drover-wait -l start -x -a '5s 30s 1m' -d 'Wait up to this long for the first holder'
complete -c drover-wait -l grace -x -a '5s 30s 1m' -d 'Leave a successor this long to take the lock'
complete -c drover-wait -l any -d 'Return when the first lock is free, and print it'
complete -c drover-wait -l relay -r -F -d 'Pass signals to the master that this pidfile names'
complete -c drover-wait -l stop-signal -x -a 'QUIT TERM INT HUP USR1 USR2 WINCH TTIN TTOU' -d 'Pass TERM on as this signal'
complete -c drover-wait -l winch -d 'Pass WINCH on, too'
complete -c drover-wait -s q -l quiet -d 'Say nothing but errors and warnings'
complete -c drover-wait -s v -l verbose -d 'Say each step'
complete -c drover-wait -s h -l help -d 'Show a short help'
complete -c drover-wait -l version -d 'Show the version'
