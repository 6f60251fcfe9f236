#!/bin/bash
# Shows drover's main job on a fresh Debian 12: installs what the build needs, builds, starts the embedded
# server, reloads it under load, kills it, and shows how fast its end was noticed.
# Leaves nothing behind but the packages and the folder build/release.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/release
packages=(g++ cmake ninja-build libfmt-dev libcli11-dev libasio-dev nlohmann-json3-dev libtomlplusplus-dev
  zlib1g-dev scdoc wrk curl)
folder='' waiter='' poller='' load=''

say() { printf '%-10s%s\n' "$1" "$2"; }
fail() {
  if [[ -s ${2:-} ]]; then tail -n 20 "$2" >&2; fi
  printf 'quickstart: %s\n' "$1" >&2
  exit 1
}

# Microseconds of the clock, and some of them in milliseconds.
now() { echo "${EPOCHREALTIME//[.,]/}"; }
ms() { printf '%d.%d ms' $(($1 / 1000)) $(($1 % 1000 / 100)); }

pause() { read -r -t "$1" -u "$never" || true; }
# becomes_true SECONDS COMMAND...: asks the command again and again; false when the time is over.
becomes_true() {
  local end=$(($(now) + $1 * 1000000))
  shift
  until "$@"; do
    (($(now) < end)) || return 1
    pause 0.01
  done
}

holders() { drover-ls --pids "$lock"; }
holds() { holders | grep -qx "$1"; }
gone() { ! holds "$1"; }
master() { cat "$folder/app.pid"; }
waits() {
  drover-ls --open --waiters "$lock" | grep -Eq "^(open|waiting): $waiter " &&
    [[ $(awk '{ print $3 }' "/proc/$waiter/stat") == S ]]
}
is_ready() { grep -q "ready, generation $1," "$folder/server.log"; }
has_worked() { (($(awk '{ print $14 + $15 }' "/proc/$1/stat") > 0)); }
times_woken() { awk '/ctxt_switches/ { n += $2 } END { print n }' "/proc/$1/status"; }

clean_up() {
  [[ -n $folder ]] || return 0
  local pid
  for pid in $(holders 2>/dev/null) $waiter $poller $load; do
    kill -KILL "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$folder"
}

as_root() { if ((EUID == 0)); then env "$@"; else sudo env "$@"; fi; }

install_packages() {
  local missing=() name
  for name in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
  done
  if ((${#missing[@]} == 0)); then
    say packages 'all there'
    return
  fi
  say packages "installing ${missing[*]} ..."
  # RUNLEVEL=1: no package starts a service.
  # shellcheck disable=SC2016
  as_root DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c \
    'apt-get -q update && apt-get -q install -y --no-install-recommends "$@"' sh "${missing[@]}" \
    >"$build/packages.log" 2>&1 || fail 'the packages cannot be installed' "$build/packages.log"
}

build_programs() {
  say build 'the programs and the embedded server, a minute or two ...'
  SECONDS=0
  {
    cmake -S "$root" --preset release &&
      cmake --build "$build" --target drover-hold drover-wait drover-ls prefork
  } >"$build/build.log" 2>&1 || fail 'the build failed' "$build/build.log"
  PATH=$build/tools:$build/examples/prefork:$PATH
  say '' "done in $SECONDS s"
}

make_folder() {
  folder=$(mktemp -d "$build/run.XXXXXX")
  lock=$folder/app.pid.lock
  mkfifo "$folder/never"
  exec {never}<>"$folder/never"
  trap clean_up EXIT
  trap 'exit 130' INT TERM
}

start_server() {
  local port
  for port in $(shuf -n 20 -i 20000-32000); do
    url=http://127.0.0.1:$port/
    if drover-hold --pidfile "$folder/app.pid" prefork --daemonize --listen "127.0.0.1:$port" \
      --pidfile "$folder/app.pid" --log "$folder/server.log" 2>"$folder/errors"; then
      say start "under drover-hold; it answers: $(curl -sf "$url")"
      return
    fi
  done
  fail 'the server does not start' "$folder/errors"
}

start_watchers() {
  drover-wait "$lock" &
  waiter=$!
  becomes_true 10 waits || fail 'drover-wait does not wait'
  # What drover replaces.
  (
    while kill -0 "$(master)"; do pause 2; done
    now >"$folder/poller"
  ) 2>/dev/null &
  poller=$!
  say wait 'drover-wait is blocked in the kernel; a pidfile loop (kill -0, every 2 s) runs beside it'
}

show_holders() {
  say holders "$(drover-ls --tree "$lock" | head -n 1 | sed "s|^$folder/||")"
  drover-ls --tree "$lock" | sed -n '2,$s/^/          /p'
}

reload() {
  local generation=$1 old
  old=$(master)
  kill -USR2 "$old"
  becomes_true 30 is_ready "$generation" || fail 'no successor came' "$folder/server.log"
  kill -QUIT "$old"
  becomes_true 30 gone "$old" || fail "the old master, $old, does not go" "$folder/server.log"
}

reload_under_load() {
  local first asked failed woken
  first=$(master)
  woken=$(times_woken "$waiter")
  wrk -t 1 -c 4 -d 300 "$url" >"$folder/wrk" 2>&1 &
  load=$!
  becomes_true 10 has_worked "$load" || fail 'wrk makes no requests' "$folder/wrk"
  for generation in 1 2 3; do reload "$generation"; done
  kill -INT "$load"
  wait "$load" || fail 'wrk failed' "$folder/wrk"
  load=''

  asked=$(awk '/requests in/ { print $1 }' "$folder/wrk")
  failed=$(tr -d , <"$folder/wrk" | awk '/Socket errors/ { n += $4 + $6 + $8 + $10 } /Non-2xx/ { n += $NF } END { print n + 0 }')
  say reload "3 times under load, master $first -> $(master): $asked requests, $failed failed"
  ((asked > 0 && failed == 0)) || fail 'requests failed' "$folder/wrk"
  waits || fail 'drover-wait ended while the server lives'
  woken=$(($(times_woken "$waiter") - woken))
  say '' "drover-wait still waits; it was woken $woken times"
  ((woken == 0)) || fail 'drover-wait does not sleep'
}

kill_everything() {
  local pids start end code=0
  mapfile -t pids < <(holders)
  start=${EPOCHREALTIME//[.,]/}
  kill -KILL "${pids[@]}"
  wait "$waiter" || code=$?
  end=${EPOCHREALTIME//[.,]/}
  waiter=''
  ((code == 0)) || fail "drover-wait ended with $code"
  say 'kill -9' "of all ${#pids[@]} processes: drover-wait ended $(ms $((end - start))) later, exit code 0"

  if ! becomes_true 5 test -s "$folder/poller"; then
    say '' 'the pidfile loop: after 5 s it still believes in a zombie that nobody has reaped'
  elif (($(<"$folder/poller") < start)); then
    say '' 'the pidfile loop: had reported a death during the reloads, which was none'
  else
    say '' "the pidfile loop: $(ms $(($(<"$folder/poller") - start))) later"
  fi
}

mkdir -p "$build"
install_packages
build_programs
make_folder
start_server
start_watchers
show_holders
reload_under_load
kill_everything
say next 'the main process of a supervised service: exec drover-wait --relay app.pid (README.md)'
