"""Two managers with one control socket, as during an upgrade."""

import threading

import pytest

from companions.copies import SLEEPER
from support.processes import eventually


@pytest.mark.parametrize("ends_first", ["older", "newer"])
def test_two_on_one_path(manager, folder, ends_first):
    """companions 43: the newer one takes over; no connection is refused, then and when either of them ends."""
    older = manager(SLEEPER)
    older.until("job", "RUNNING")
    refused, asked, over = [], [], threading.Event()

    def knock():
        while not over.is_set():
            try:
                asked.append((older.ask({"cmd": "hello"}) or {}).get("pid"))
            except (ConnectionRefusedError, FileNotFoundError) as error:
                refused.append(error)
            except (ConnectionResetError, BrokenPipeError):  # it was connected to the one that ends
                pass

    knocker = threading.Thread(target=knock)
    knocker.start()
    try:
        newer = manager(SLEEPER)
        gone, stays = (older, newer) if ends_first == "older" else (newer, older)
        assert gone.stop() == 0
        eventually(lambda: asked[-1] == stays.pid, "the answers of the one that is left")
    finally:
        over.set()
        knocker.join()
    assert refused == [] and set(asked) - {None} == {older.pid, newer.pid}
    stays.until("job", "RUNNING")
    assert stays.stop() == 0
    assert [path.name for path in (folder / "run").iterdir()] == ["job.lock"]
