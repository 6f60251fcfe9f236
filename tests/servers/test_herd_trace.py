"""drover-herd --trace, and what it costs to wait."""

import json
import os
import signal

import pytest

from conftest import needs
from support.flocks import woken
from support.herds import Herd
from support.processes import children, eventually
from support.servers import READY, Unicorn


@pytest.fixture
def unicorn(processes):
    needs("unicorn")
    return Unicorn(processes)


def test_trace_is_a_list_of_events(unicorn):
    trace = unicorn.folder / "trace.json"
    herd = Herd(unicorn, "--trace", trace, command=("unicorn", "-c", unicorn.folder / "unicorn.rb"))
    assert not trace.exists()
    for _ in range(2):
        verdict, line = herd.reload()
        assert verdict == "done", line
    assert herd.stop() == 0
    events = json.loads(trace.read_text().rstrip().rstrip(",") + "]")
    assert [event["tid"] for event in events] == sorted(event["tid"] for event in events)
    for number in (1, 2):
        steps = [event for event in events if event["tid"] == number]
        assert [step["name"] for step in steps] == ["ask", "seen", "ready", "retire", "drain"]
        assert all(step["ph"] == "X" and step["pid"] == herd.pid and step["dur"] >= 0 for step in steps)
        ends = [step["ts"] + step["dur"] for step in steps]
        assert all(begin["ts"] >= end - 1 for begin, end in zip(steps[1:], ends))


def test_herd_sleeps(unicorn):
    """H48: nothing wakes it, nor what carries the output, while nothing happens; also after a reload."""
    for name in ("stdout_path", "stderr_path"):  # else nothing comes by way of the herd
        unicorn.edit("unicorn.rb", name, f"# {name}")
    herd = Herd(unicorn, command=("unicorn", "-c", unicorn.folder / "unicorn.rb"))
    processes = [herd.process, *(Carrier(pid) for pid in children(herd.pid) if is_carrier(pid))]
    assert len(processes) == 2
    assert woken(processes) == []
    verdict, line = herd.reload()
    assert verdict == "done", line
    assert woken(processes) == []
    assert herd.stop() == 0


class Carrier:
    """As much of a Popen as is looked at."""

    def __init__(self, pid):
        self.pid = pid
        self.args = ["drover-output"]


def is_carrier(pid):
    with open(f"/proc/{pid}/comm") as file:
        return file.read() == "drover-output\n"


def test_reloads_leave_nothing_open(unicorn):
    """No descriptor more after ten reloads than after one, but for the last masters, which it remembers."""
    herd = Herd(unicorn, "--settle", "50ms", command=("unicorn", "-c", unicorn.folder / "unicorn.rb"))
    verdict, line = herd.reload()
    assert verdict == "done", line
    before = len(os.listdir(f"/proc/{herd.pid}/fd"))
    for _ in range(10):
        verdict, line = herd.reload()
        assert verdict == "done", line
    eventually(lambda: len(os.listdir(f"/proc/{herd.pid}/fd")) <= before + 3, "its descriptors to be closed")
    herd.send(signal.SIGTERM)
    assert herd.result(READY) == 0
