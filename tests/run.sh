#!/bin/sh
# Installs what is missing, builds, and runs every test.
#
#   tests/run.sh                     every stage but the last three, once
#   tests/run.sh unit cli            these stages only: format build unit cli companions faults servers
#                                    chaos supervisors install quickstart bench sanitized
#                                    sanitized-servers tidy fuzz
#   REPEAT=20 tests/run.sh cli       the stage that many times
#   DROVER_CHAOS_ROUNDS=200 tests/run.sh chaos    that many random faults for each server, not 20
set -eu
cd "$(dirname "$0")/.."
stages=${*:-format build unit cli companions faults servers chaos supervisors install quickstart bench sanitized}
repeat=${REPEAT:-1}
jobs=$(nproc)
export PYTHONDONTWRITEBYTECODE=1 CTEST_OUTPUT_ON_FAILURE=1

if [ "$(id -u)" != 0 ]; then
  echo 'tests/run.sh: the tests mount file systems, change users and boot a systemd: run it as root,' \
    'in a virtual machine or a container' >&2
  exit 77
fi
started=$(date +%s)
list=$(mktemp)
output=$(mktemp)
trap 'rm -f "$list" "$output"' EXIT
trap 'exit 1' INT TERM
say() { printf '\n== %s  (%s s)\n' "$*" "$(($(date +%s) - started))"; }

install_packages() {
  missing=''
  sed '/^#/d; s/^[a-z]*://' tests/packages | xargs -n 1 >"$list"
  while read -r package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing="$missing $package"
  done <"$list"
  [ -n "$missing" ] || return 0
  say "Installing$missing"
  apt-get update -q >/dev/null
  # RUNLEVEL=1: packages of servers must not start them.
  # shellcheck disable=SC2086
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends $missing >/dev/null
}

build() {
  say "Building preset $1"
  cmake --preset "$1" >/dev/null
  cmake --build --preset "$1" -- -j "$jobs" >"$output" 2>&1 || fail
  tail -n 1 "$output"
}

# The whole output of what failed. A pipe would lose its status.
fail() {
  cat "$output"
  say 'Failed'
  exit 1
}

run_ctest() { # BUILD
  ctest --test-dir "build/$1" -j "$jobs" --output-on-failure >"$output" 2>&1 || fail
  tail -n 5 "$output"
}

run_pytest() { # FOLDER BUILD
  say "tests/$1 on $2"
  DROVER_BUILD="$PWD/build/$2" /usr/bin/python3 -m pytest -c tests/pytest.ini \
    -n "$((jobs * 4))" "tests/$1"
}

stage() {
  case $1 in
    format)
      say 'Format and scripts'
      git ls-files '*.h' '*.cpp' '*.c' >"$list"
      xargs clang-format-14 --dry-run --Werror <"$list"
      git ls-files >"$list"
      while read -r file; do
        head -n 1 "$file" | grep -qE '^#!/bin/(ba)?sh' && echo "$file"
      done <"$list" >"$output"
      [ -s "$output" ]
      xargs shellcheck -x -P SCRIPTDIR -S warning <"$output"
      ;;
    build) build release ;;
    unit)
      build asan
      say 'Unit tests under ASan and UBSan'
      run_ctest asan
      ;;
    cli | companions | faults | servers | chaos | supervisors | install)
      build release
      run_pytest "$1" release
      ;;
    quickstart)
      say 'The quick start of the README'
      examples/quickstart.sh
      ;;
    bench)
      build release
      say 'The bench, once: that it runs, not what it finds'
      tests/bench/run.sh --quick --row start
      ;;
    sanitized)
      build asan
      for folder in cli companions; do run_pytest "$folder" asan; done
      ;;
    sanitized-servers)
      build asan
      for folder in servers supervisors; do run_pytest "$folder" asan; done
      ;;
    tidy) build tidy ;;
    fuzz)
      say 'Fuzz targets'
      tests/fuzz/run.sh
      ;;
    *)
      echo "tests/run.sh: no stage '$1'" >&2
      exit 64
      ;;
  esac
}

install_packages
for name in $stages; do
  round=0
  while [ "$round" -lt "$repeat" ]; do
    stage "$name"
    round=$((round + 1))
  done
done
say 'All stages passed'
