# shellcheck shell=sh disable=SC2154,SC2016
# The rows of the table: what is measured, against which peers, with which target. Read by run.sh.

# ROUNDS: as given, or about a fifth with --quick.
rounds() {
  if [ -n "$quick" ]; then echo $((($1 + 4) / 5)); else echo "$1"; fi
}

# KIND TARGETS [1: tell of refused binds]: the lines of the stopwatch on standard input as table lines.
table() { awk -v kind="$1" -v targets="$2" -v binds="${3-}" -f "$here/table.awk"; }

# TARGETS, and the stopwatch's arguments: times.
show() {
  targets=$1
  shift
  ./stopwatch "$@" | table times "$targets"
}

say() { printf '  %s\n' "$1"; }

title() { printf '\n%-44s %5s %10s %10s %8s\n' "$@" | sed 's/ *$//'; }

heading() {
  echo "drover bench: $(uname -sr), $(nproc) CPUs, load $(cut -d' ' -f1 /proc/loadavg), $(date -u '+%F %H:%M') UTC"
  echo "A ratio is drover's value to the peer's; below 1 is better. Peers are measured in turns with drover."
}

# COUNT DESCRIPTORS LOCK...: sleeping processes that hold the LOCKs; `made` of them, `crowd` the first.
# A new FIFO for each: the writer of the one before may not have closed it yet.
start_crowd() {
  rm -f ready
  mkfifo ready
  ./stopwatch crowd ready "$@" &
  crowd=$!
  crowds="$crowds $crowd"
  made=0
  read -r made <ready
}

end_crowds() {
  for pid in $crowds; do
    kill "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
  done
  crowds=
}

row_start() {
  title "Start: the whole run of a wrapped 'true'" n p50 p99 ratio
  show "flock -s L true<=0.60 x" run "$(rounds 400)" \
    ::: "drover-hold L -- true" bin/drover-hold L -- true \
    ::: "flock -s L true" flock -s L true \
    ::: "3 lines of C, static: exec and no more" bin/exec-only true \
    ::: "true alone" true
}

# A home with 40 versions of ruby, an application that asks for one of them, and a wrapper.
make_project() {
  mkdir -p home app/bin
  for patch in $(seq 40); do
    mkdir -p "home/.rbenv/versions/3.1.$patch/bin"
    ln -s /usr/bin/true "home/.rbenv/versions/3.1.$patch/bin/true"
    ln -s "$(command -v ruby || command -v true)" "home/.rbenv/versions/3.1.$patch/bin/ruby"
  done
  echo 3.1.20 >app/.ruby-version
  echo 'export PROJECT=1' >app/.envrc
  cat >app/bin/wrapper <<END
#!$work/bin/drover-exec
ruby    = "auto"
command = ["true"]
lock    = "../wrapper.lock"
[env]
RAILS_ENV = "production"
END
  chmod +x app/bin/wrapper
}

# The environment that all are measured in: 200 variables, 60 folders in PATH.
fill_environment() {
  for number in $(seq 195); do export "VARIABLE_$number=a value of some length, number $number"; done
  for number in $(seq 54); do PATH=$PATH:/opt/folder/$number; done
  HOME=$work/home
  export PATH HOME
}

row_wrapper() {
  make_project
  title "A wrapper: 200 variables, 40 versions, a lock" n p50 p99 ratio
  (
    fill_environment
    set -- ::: "bash -c 'exec true'" bash -c 'exec true' ::: "bash -lc 'exec true'" bash -lc 'exec true'
    if command -v rbenv >/dev/null; then set -- "$@" ::: "rbenv exec true" env RBENV_DIR="$work/app" rbenv exec true; fi
    if command -v direnv >/dev/null; then
      (cd app && direnv allow . 2>/dev/null)
      set -- "$@" ::: "direnv exec app true" direnv exec app true
    fi
    DIRENV_LOG_FORMAT='' show "env true<=3.00 x" run "$(rounds 200)" \
      ::: "drover-exec, by a wrapper" app/bin/wrapper \
      ::: "env true" /usr/bin/env true \
      "$@"
  )
}

# The stopwatch's arguments; the waiters that all deaths are shown to.
show_deaths() {
  show "sh -c 'flock -x 0 <L'<=0.80 x;10 lines of C, static<=1.15 x" "$@" \
    ::: "drover-wait L" bin/drover-wait L \
    ::: "sh -c 'flock -x 0 <L'" sh -c 'flock -x 0 <L' \
    ::: "10 lines of C, static" bin/c-static L \
    ::: "10 lines of C, dynamic" bin/c-dynamic L \
    ::: "flock -x L true" flock -x L true
}

row_death() {
  title "The holder's exit to the waiter's end" n p50 p99 ratio
  show_deaths death "$(rounds 500)" L 1 exit
}

row_thousand() {
  title "The same, 1000 holders: from the last exit" n p50 p99 ratio
  show_deaths death "$(rounds 50)" L 1000 exit
  title "... and from kill -9 of all at once" n p50 p99 ratio
  ./stopwatch death "$(rounds 20)" L 1000 kill \
    ::: "drover-wait L" bin/drover-wait L \
    ::: "10 lines of C, static" bin/c-static L | table times ""
  say "(which is nearly all the kernel's work of ending 1000 processes)"
}

row_port() {
  start_crowd 200 3
  for descriptors in 0 500; do
    title "Lock on 1025, port below, +$descriptors descriptors" n p50 p99 ratio
    ./stopwatch port "$(rounds 200)" L bin/drover-hold $descriptors \
      ::: "drover-wait L" bin/drover-wait L \
      ::: "flock -x L true" flock -x L true \
      ::: "10 lines of C, static" bin/c-static L |
      table times "drover-wait L<=3000 us" 1
  done
  say "($made other processes slept meanwhile)"
  end_crowds
}

make_service() {
  mkdir -p service
  printf '#!/bin/sh\nexec sleep 1000\n' >service/run
  chmod +x service/run
}

# SECONDS: starts everything that waits, and looks at it for so long.
rest() {
  mkdir -p locks
  [ -e locks/1 ] || (cd locks && seq 1000 | xargs touch)
  start_crowd 1 0 locks/*
  start_crowd 1 0 L
  echo "$crowd" >pidfile
  make_service
  seconds=$1
  set --
  if command -v runsv >/dev/null; then set -- ::: "runsv of runit" runsv service; fi
  if command -v s6-supervise >/dev/null; then
    cp -R service s6-service
    set -- "$@" ::: "s6-supervise of s6" s6-supervise s6-service
  fi
  ./stopwatch rest "$seconds" \
    ::: "flock -x L true" flock -x L true \
    ::: "drover-wait L" bin/drover-wait L \
    ::: "drover-wait --relay PIDFILE L" bin/drover-wait --relay pidfile L \
    ::: "drover-wait, 1000 locks" bin/drover-wait locks/* \
    ::: "drover-herd, 16 workers" bin/drover-herd -q --pidfile idle.pid \
    bin/prefork -q --listen 127.0.0.1:0 --workers 16 --pidfile idle.pid \
    ::: "tail --pid" tail --pid="$crowd" -f /dev/null \
    ::: "shell loop, pidfile, sleep 2" sh -c 'while kill -0 $(cat pidfile); do sleep 2; done' "$@"
  [ ! -s idle.pid ] || kill "$(cat idle.pid)"  # it outlives its herd
  end_crowds
}

row_idle() {
  seconds=60
  [ -z "$quick" ] || seconds=10
  title "Idle: context switches in $seconds s" count
  rest $seconds | table switches \
    "drover-wait L<=0;drover-wait --relay PIDFILE L<=0;drover-wait, 1000 locks<=0;drover-herd, 16 workers<=0"
  say "(of the process itself; the shell loop's children come on top)"
}

row_memory() {
  title "Anonymous memory while waiting" "" RssAnon Pss ratio
  rest 0 | table memory \
    "drover-wait L<=1.00 x;drover-wait --relay PIDFILE L<=1.00 x;drover-wait, 1000 locks<=8192 kB;drover-herd, 16 workers<=300 kB"
}

row_list() {
  wanted=5000
  [ -z "$quick" ] || wanted=1000
  start_crowd $wanted 16 L
  title "List $made holders, 16 descriptors each" n p50 p99 ratio
  [ "$made" -ge $wanted ] || say "(no room for more; $wanted were wanted)"
  set --
  for peer in fuser "lsof -w"; do
    # shellcheck disable=SC2086
    if command -v ${peer% *} >/dev/null; then
      set -- "$@" ::: "$peer L" $peer L
    else
      say "$peer L: not measured, it is not installed"
    fi
  done
  if [ -x bin/drover-ls ]; then
    set -- ::: "drover-ls L" bin/drover-ls L "$@"
  else
    say "drover-ls L: not built"
  fi
  show "fuser L<=1.00 x;lsof -w L<=1.00 x" run "$(rounds 10)" "$@"
  end_crowds
}

row_poller() {
  title "The same death, seen by a pidfile poller" n p50 p99
  show "" poll "$(rounds 5)" L pidfile \
    ::: "shell loop, pidfile, sleep 2" sh -c 'while kill -0 $(cat pidfile); do sleep 2; done'
}

# The embedded server, in the foreground or under drover-hold as a daemon.
prefork='bin/prefork -q --listen 127.0.0.1:0 --workers 4 --pidfile herd.pid'

row_herd() {
  title "kill -9 of a server to its main process's end" n p50 p99 ratio
  # shellcheck disable=SC2086
  show "drover-hold, then drover-wait<=2.00 x" service "$(rounds 50)" herd.pid \
    ::: "drover-herd" bin/drover-herd -q --pidfile herd.pid $prefork \
    ::: "drover-hold, then drover-wait" sh -c \
    "bin/drover-hold --pidfile herd.pid $prefork --daemonize --log /dev/null && exec bin/drover-wait herd.pid.lock"
  reloads=$(rounds 100)
  title "Hot reloads in a row, --settle 0, ms each" n p50 p99
  # shellcheck disable=SC2086
  bin/drover-herd -q --settle 0 --pidfile herd.pid $prefork &
  herd=$!
  bin/drover-wait -q -w 1s --start 5s herd.pid.lock || :
  for _ in $(seq "$reloads"); do
    bin/drover-ctl -p herd.pid -q --json reload |
      sed -n 's/.*"verdict":"done".*"duration_ms":\([0-9.]*\),"old".*/\1/p'
  done | sort -n | awk '{ all[NR] = $1 * 1000 }
    END { print "drover-ctl reload\t" NR "\t" all[int((NR + 1) / 2)] "\t" all[int(NR * 0.99 + 0.99)] "\t0\t0" }' |
    table times ""
  kill "$herd"
  wait "$herd"
}

# A manager with 1000 companions, while `measure` runs.
with_companions() {
  mkdir -p run
  printf 'run_dir = "run"\n[companion.c]\ncommand = ["sleep", "1000"]\nnumprocs = 1000\nstartsecs = 0\n' >c.toml
  bin/drover-companions -q --config c.toml &
  manager=$!
  until [ -S run/companions.sock ]; do :; done
  bin/drover-ctl -q -s run/companions.sock start c >/dev/null
  "$@"
  kill "$manager"
  wait "$manager"
}

row_companions() {
  title "Companions: 1000 started, seen running, stopped" n p50 p99 ratio
  STOPWATCH_SECONDS=30 show "1000 runsv<=1.00 x" run "$(rounds 10)" \
    ::: "drover-companions" "$here/companions.sh" drover "$work/bin" 1000 \
    ::: "1000 runsv" "$here/companions.sh" runit 1000
  title "Companions: the status of 1000 (target: 50 ms)" n p50 p99 ratio
  with_companions show "" run "$(rounds 100)" \
    ::: "drover-ctl status" bin/drover-ctl -s run/companions.sock status --json
}
