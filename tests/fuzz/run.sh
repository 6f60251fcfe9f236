#!/bin/sh
# Runs every fuzz target under ASan and UBSan from the corpus in the tree, which stays as it is.
#   tests/fuzz/run.sh [RUNS]     of each target; 100000 without it
set -eu
cd "$(dirname "$0")/../.."
runs=${1:-100000}
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz >/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work" /dev/shm/drover-fuzz.*' EXIT
for target in environment env_file wrapper version_file rvm_environment recorded_diff control_request \
  pidfile notify_message probe; do
  mkdir "$work/$target"
  echo "== $target: $runs runs"
  build/fuzz/tests/fuzz/fuzz_$target -runs="$runs" -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="$work/" "$work/$target" "tests/fuzz/corpus/$target" >"$work/log" 2>&1 ||
    { tail -n 40 "$work/log"; exit 1; }
  tail -n 1 "$work/log"
done
