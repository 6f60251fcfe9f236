# fish completion for drover-companions(1)

complete -c drover-companions -f
complete -c drover-companions -s c -l config -r -F -d 'What is to run'
complete -c drover-companions -l control -r -F -d 'The control socket, in place of RUN_DIR/companions.sock'
complete -c drover-companions -s q -l quiet -d 'Say nothing but errors and warnings'
complete -c drover-companions -s v -l verbose -d 'Say each step'
complete -c drover-companions -s h -l help -d 'Show a short help'
complete -c drover-companions -l version -d 'Show the version'
