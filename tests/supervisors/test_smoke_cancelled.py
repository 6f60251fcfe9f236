"""examples/ci/smoke when the job is cancelled: the CI system is the supervisor, and ends the script."""

import signal

import pytest

from conftest import ROOT, needs
from support.processes import children, eventually, holders
from support.supervisors import free_port

SMOKE = ROOT / "examples" / "ci" / "smoke"

# The first look at the holders misses all but one: a worker that is forked just then.
FORGETFUL = """\
#!/bin/sh
PATH=${PATH#*:}
if mkdir looked; then drover-ls "$@" | head -n 1; else exec drover-ls "$@"; fi
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cancelled_job_leaves_nothing(start, processes, folder, lock, number):
    needs("curl")
    program = folder / "bin" / "drover-ls"
    program.parent.mkdir()
    program.write_text(FORGETFUL)
    program.chmod(0o755)
    server = ("sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000")
    path = f"{program.parent}:{processes.environment['PATH']}"
    url = f"http://127.0.0.1:{free_port()}/"
    smoke = start(SMOKE, folder / "app.pid", url, *server, env={"PATH": path})
    eventually(lambda: len(holders(lock)) == 4 and len(children(smoke.pid)) == 3, "the server and curl")
    smoke.send_signal(number)
    assert smoke.wait(timeout=20) == 128 + number
    assert holders(lock) == set()
    eventually(lambda: not processes.left(), "the script's other children to end", limit=2)
