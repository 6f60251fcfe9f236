#!/bin/sh
# Reloads the server of this machine when it is its turn: of all machines of a fleet one at a time.
#
#   reload.sh FLEET DROVER-CTL-OPTION...       as in: reload.sh /fleet/app -p /run/app/unicorn.pid
#
# To be run on every machine, at once or not. A release that does not come up stops the rollout: whoever
# comes after it goes on with the code that it has, until somebody says "etcdctl del FLEET/stopped".
# Ends as "drover-ctl reload" does; with 1 also when the rollout was stopped before, or without etcd.
set -eu

if [ $# -lt 2 ]; then
  echo 'usage: reload.sh FLEET DROVER-CTL-OPTION...' >&2
  exit 64
fi
fleet=$1

# Fails without etcd, whose lock would be waited for until it is back.
stopped=$(etcdctl get --print-value-only -- "$fleet/stopped")
if [ -n "$stopped" ]; then
  printf '%s: not reloaded: the rollout was stopped by %s\n' "$0" "$stopped" >&2
  exit 1
fi

case ${ETCD_LOCK_KEY-} in
  "$fleet/turn/"*) ;;
  # Waits for the lock, keeps it while the command runs, and ends as the command does.
  *) exec etcdctl lock --ttl=20 -- "$fleet/turn" "$0" "$@" ;;
esac

shift
status=0
drover-ctl "$@" reload || status=$?
if [ "$status" -ne 0 ]; then
  etcdctl put -- "$fleet/stopped" "$(uname -n), where drover-ctl ended with $status" >/dev/null
fi
exit "$status"
