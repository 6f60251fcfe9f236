#!/bin/sh
# One cycle of N companions, or of as many services of runit: all started, all seen running, all
# stopped.
#   companions.sh drover PROGRAMS N    in the current folder, with drover-companions and drover-ctl of PROGRAMS
#   companions.sh runit N
set -eu

drover() {
  mkdir -p run
  cat >companions.toml <<END
run_dir = "run"
[companion.c]
command   = ["sleep", "1000"]
numprocs  = $2
startsecs = 0
END
  "$1/drover-companions" -q --config companions.toml &
  until [ -S run/companions.sock ]; do :; done
  "$1/drover-ctl" -q -s run/companions.sock start c >/dev/null
  "$1/drover-ctl" -q -s run/companions.sock shutdown >/dev/null
  wait
}

runit() {
  if [ ! -d "service/$1" ]; then
    for number in $(seq "$1"); do
      mkdir -p "service/$number"
      printf '#!/bin/sh\nexec sleep 1000\n' >"service/$number/run"
      chmod +x "service/$number/run"
    done
  fi
  rm -f service/*/supervise/ok
  for number in $(seq "$1"); do
    runsv "service/$number" &
  done
  # The last one's pipe comes when its runsv is there.
  for number in $(seq "$1"); do
    until [ -p "service/$number/supervise/ok" ]; do :; done
  done
  sv -w 60 start ./service/* >/dev/null
  sv -w 60 exit ./service/* >/dev/null
  wait
}

"$@"
