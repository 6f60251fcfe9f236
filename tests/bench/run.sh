#!/bin/sh
# The bench: one table, each line beside its peers, measured in the same run, in turns.
#   tests/bench/run.sh [--quick] [--row start|wrapper|death|thousand|port|idle|memory|list|poller|herd|companions]
# DROVER_BUILD is the folder of the build that is measured (build/release). It is no test: it exits 0
# whatever it measures, 69 when there is nothing to measure, 64 for wrong usage.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=${DROVER_BUILD:-$here/../../build/release}
rows="start wrapper death thousand port idle memory list poller herd companions"
quick=

usage() {
  echo "run.sh: usage: run.sh [--quick] [--row NAME], NAME one of: $rows" >&2
  exit 64
}

unavailable() {
  echo "run.sh: $1" >&2
  exit 69
}

while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=1 ;;
    --row)
      case " $rows " in *" ${2-} "*) rows=$2 ;; *) usage ;; esac
      shift
      ;;
    *) usage ;;
  esac
  shift
done

build=$(cd "$build" 2>/dev/null && pwd) || unavailable "there is no build in $build"
for program in drover-hold drover-wait; do
  [ -x "$build/tools/$program" ] || unavailable "$build/tools/$program is not built"
done
for program in cc flock; do
  command -v $program >/dev/null || unavailable "$program is not installed"
done

crowds=
work=$(mktemp -d)
trap 'end_crowds; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work" || exit 71
# Of one command of the stopwatch: on a busy machine it takes fewer samples, and says how many.
STOPWATCH_SECONDS=20
[ -z "$quick" ] || STOPWATCH_SECONDS=4
export STOPWATCH_SECONDS
# The search for commands, and the peers' locale, cost the same everywhere.
PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
exec </dev/null
touch L

# Everything is measured as an installation has it, written in one go: Linux keeps such a file in larger
# pieces in its page cache than the linker's own output, and maps it faster (60 us an exit, measured).
install_here() {
  mkdir -p bin
  for program; do [ ! -x "$program" ] || cp "$program" bin/; done
}

. "$here/rows.sh"

compile() {
  cc -O2 "$@" || unavailable "the bench does not compile"
}

compile -static -D_GNU_SOURCE -o stopwatch "$here"/stopwatch.c "$here"/processes.c \
  "$here"/holders.c "$here"/death.c "$here"/rest.c "$here"/service.c
compile -static -o c-static "$here/flock_wait.c"
compile -o c-dynamic "$here/flock_wait.c"
compile -static -o exec-only "$here/exec_only.c"
install_here "$build"/tools/drover-* "$build"/examples/prefork/prefork c-static c-dynamic exec-only
heading
for row in $rows; do "row_$row"; done
