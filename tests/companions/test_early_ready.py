"""A companion that is quicker than its manager."""

import pytest

from companions.copies import disguised  # noqa: F401
from conftest import needs

SLOW_TO_FORK = "exec strace -D -qq -o /dev/null -e trace=clone,clone3 -e inject=clone,clone3:delay_exit=500000 \"$@\"\n"


BY_DESCRIPTOR = """command = ["sh", "-c", "echo >&3; exec sleep 1000"]
ready = "fd:3"
"""
BY_MESSAGE = """command = ["python3", "ready.py"]
ready = "notify"
"""
READY = """import os, socket, time
place = chr(0) + os.environ["NOTIFY_SOCKET"][1:]
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", place)
time.sleep(1000)
"""


@pytest.mark.parametrize("keys", [BY_DESCRIPTOR, BY_MESSAGE], ids=["descriptor", "message"])
@pytest.mark.parametrize("singleton", ["true", "false"])
def test_ready_before_fork_has_returned(manager, folder, disguised, singleton, keys):
    """That it is ready counts, though the manager learns of its lock at the same time."""
    needs("strace")
    (folder / "ready.py").write_text(READY)
    disguised(SLOW_TO_FORK)
    only = manager(f"[companion.job]\n{keys}singleton = {singleton}\n", env={"ASAN_OPTIONS": "detect_leaks=0"})
    only.until("job", "RUNNING", ready=True)
