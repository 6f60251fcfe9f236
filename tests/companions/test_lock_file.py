"""The lock's file and its holders when something is wrong with them."""

import os

import pytest

from companions.copies import SLEEPER, copy, disguised, gaps, pair  # noqa: F401
from conftest import needs
from support.processes import alive, eventually, holders

# A daemon of its own, with a descriptor of the lock, which survives its companion.
HELPER = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >>helpers; exec sleep 1000"


def helpers(folder, count):
    """The numbers of that many helpers, as soon as they have been started."""
    path = folder / "helpers"

    def numbers():
        found = [int(word) for word in path.read_text().split()] if path.exists() else []
        return found if len(found) == count else None

    return eventually(numbers, f"{count} helpers")


def test_helper_that_lives_on(manager, folder):
    """companions 30: why names it, release lists it, and ends it when it is asked to."""
    waiting = manager(f'[companion.job]\ncommand = ["sh", "-c", "{HELPER}"]\nstartsecs = "50ms"\n')
    waiting.until("job", "RUNNING")
    (helper,) = helpers(folder, 1)
    assert waiting.do("release", "job", kill=True)["strays"] == []  # those of the live copy are none
    assert waiting.ask({"cmd": "restart", "name": "job"})["ok"]
    waiting.until("job", "WAITING", holders=[helper])
    (answer,) = waiting.do("why", "job")["why"]
    assert any(f"process {helper} keeps" in reason and "sleep 1000" in reason for reason in answer["reasons"])
    (stray,) = waiting.do("release", "job")["strays"]
    assert (stray["pid"], stray["killed"]) == (helper, False) and alive(helper)
    (stray,) = waiting.do("release", "job", kill=True)["strays"]
    assert (stray["pid"], stray["killed"]) == (helper, True)
    waiting.until("job", "RUNNING")
    assert not alive(helper)
    helpers(folder, 2)
    assert waiting.do("stop", "job")["ok"]
    (stray,) = waiting.do("release", "job", kill=True)["strays"]
    eventually(lambda: not alive(stray["pid"]), "the second helper's end")


@pytest.mark.parametrize("hold", ["main", "both"])
def test_manager_that_keeps_the_lock(pair, copy, hold):
    """companions 30: is named as one, and never killed: all its companions would go with it."""
    old, new = pair(copy(hold=hold))
    assert old.pid in new.status("job")["holders"]
    reasons = new.do("why", "job")["why"][0]["reasons"]
    assert any(f"{old.pid}" in reason and "drover-companions" in reason for reason in reasons)
    strays = {stray["pid"]: stray["killed"] for stray in new.do("release", "job", kill=True)["strays"]}
    assert strays.get(old.pid) is not True and old.running()


def test_lock_file_removed_while_somebody_waits(pair, copy, notes, folder):
    """companions 31: the waiter got the lock of a file that is no more; it says so and takes the new one."""
    old, new = pair(copy())
    (folder / "run" / "job.lock").unlink()
    assert old.stop() == 0
    new.until("job", "RUNNING", lock_state="held")
    new.await_words(r"lock '.*/run/job\.lock' was replaced")
    assert holders(folder / "run" / "job.lock")
    assert new.stop() == 0
    assert len(gaps(notes())) == 1


def test_lock_file_removed_before_the_next_start(manager, copy, notes, folder):
    """companions 31: no second copy beside the one that has the lock of the removed file."""
    old = manager(copy(), name="old")
    pid = old.until("job", "RUNNING")["pid"]
    (folder / "run" / "job.lock").unlink()
    new = manager(copy(), name="new")
    eventually(lambda: new.status("job")["state"] in ("WAITING", "BACKOFF", "RUNNING"), "an answer")
    state, said = new.status("job")["state"], str(new.do("why", "job")) + new.said()
    assert (old.stop(), new.do("stop", "job")["ok"], new.stop()) == (0, True, 0)
    assert state != "RUNNING", "a second copy"
    assert f"{pid}" in said and "job.lock" in said
    gaps(notes())


def test_lock_file_replaced_between_two_starts(manager, folder):
    """companions 31: a restart of the same manager takes the file that is there now."""
    only = manager(SLEEPER)
    only.until("job", "RUNNING")
    (folder / "run" / "job.lock").unlink()
    assert only.do("restart", "job")["ok"]
    assert holders(folder / "run" / "job.lock") == {only.status("job")["pid"]}


@pytest.mark.parametrize(
    "kind, why",
    [("missing", "No such file"), ("link", ""), ("folder", ""), ("denied", "Permission denied"), ("full", "No space")],
)
def test_lock_file_that_cannot_be_made(manager, disguised, folder, kind, why):
    """companions 32: the companion backs off and names the path and the reason; its manager goes on."""
    place = folder / "place"
    place.mkdir() if kind != "missing" else None
    if kind == "link":
        (place / "job.lock").symlink_to("elsewhere")
    elif kind == "folder":
        (place / "job.lock").mkdir()
    elif kind == "full":
        needs("unshare")
        disguised("exec unshare -m sh -c 'mount -t tmpfs -o nr_inodes=1 none place && exec \"$@\"' sh \"$@\"\n")
    elif kind == "denied":
        needs("setpriv")
        folder.chmod(0o755)
        (folder / "run").mkdir(0o700)
        os.chown(folder / "run", 65534, 65534)
        disguised('exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"\n')
    alone = manager(SLEEPER + 'lock = "place/job.lock"\n[companion.other]\ncommand = ["sleep", "1000"]\n')
    reason = alone.until("job", "BACKOFF", pid=None)["reason"]
    assert f"{place}/job.lock" in reason and why in reason
    assert reason in alone.said()
    alone.until("other", "RUNNING")
    assert not (place / "elsewhere").exists()


@pytest.mark.parametrize("kind, why", [("missing", "No such file"), ("file", ""), ("dangling", "")])
def test_folder_that_cannot_be_made(run, folder, kind, why):
    """companions 32: without the folder of the locks there is no manager."""
    (folder / "file").touch()
    (folder / "dangling").symlink_to("nowhere/at/all")
    (folder / "c.toml").write_text(f'run_dir = "{kind}{"/locks" if kind == "missing" else ""}"\n{SLEEPER}')
    done = run("drover-companions", "--config", "c.toml")
    assert done.returncode > 0 and done.stdout == ""
    assert done.stderr.startswith("drover-companions: cannot ") and f"{folder}/{kind}" in done.stderr
    assert why in done.stderr
