"""drover-ls: who holds a lock, and what an operator needs to know of them."""

import json
import os
import re
import signal
import time

import pytest

from conftest import needs
from support.flocks import PYTHON, as_nobody, complains, end, finish, hold, holds, wait  # noqa: F401
from support.processes import alive, children, eventually, holders, parent, start_time

COUNT = 5000


@pytest.fixture
def look(run):
    """look(LOCK, OPTION...): the report on one lock, as drover-ls --json has it."""

    def look(lock, *options, before=()):
        done = run(*before, "drover-ls", "--json", *options, lock)
        assert done.stderr == ""
        answer = json.loads(done.stdout)
        assert answer["v"] == 1
        assert len(answer["locks"]) == 1
        assert done.returncode == (0 if answer["locks"][0]["held"] else 1)
        return answer["locks"][0]

    return look


def pids_of(report):
    return {holder["pid"] for description in report["descriptions"] for holder in description["holders"]}


def rows_of(text):
    """The table under the first line, as lists of its first seven cells and the rest."""
    lines = text.splitlines()[1:]
    assert lines[0].split() == ["PID", "PPID", "USER", "AGE", "FD", "TOOK", "ROLE", "UNIT", "COMMAND"]
    return [line for line in lines[1:] if re.match(r"\d", line)]


def family(start, lock, *options):
    """A shell that holds the lock, with two children that do."""
    script = 'sleep 1000 & sleep 1000 & wait'
    shell = start("drover-hold", *options, lock, "sh", "-c", script)
    eventually(lambda: len(children(shell.pid)) == 2 and len(holders(lock)) == 3, "three holders")
    return shell, children(shell.pid)


def end_family(shell):
    pids = [shell.pid, *children(shell.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    shell.wait()
    eventually(lambda: not any(map(alive, pids)), "the family to end")


# One lock


def test_free_lock_is_1(run, lock, look):
    lock.touch(0o600)
    done = run("drover-ls", lock)
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{lock}: free\n", "")
    report = look(lock)
    assert not report["held"]
    assert report["descriptions"] == []


def test_missing_lock_is_66(run, lock):
    done = run("drover-ls", lock)
    assert (done.returncode, done.stdout) == (66, "")
    assert complains(done.stderr, "drover-ls", str(lock), "no such lock file")
    assert not lock.exists()


def test_one_holder(hold, lock, look):
    holder = hold(lock, "--fd", "1030")
    report = look(lock)
    assert report["path"] == str(lock)
    assert report["held"] and report["visible"]
    (description,) = report["descriptions"]
    assert description["mode"] == "shared"
    assert description["taker"] == holder.pid
    assert description["taker_alive"]
    (found,) = description["holders"]
    assert found["pid"] == holder.pid
    assert found["ppid"] == os.getpid()
    assert (found["uid"], found["user"]) == (0, "root")
    assert found["fds"] == [{"fd": 1030, "mode": "shared"}]
    assert found["command"] == "sleep 1000"
    assert found["took_lock"]
    assert not found["cwd_deleted"] and not found["exe_deleted"]
    ticks = os.sysconf("SC_CLK_TCK")
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - start_time(holder.pid) / ticks
    assert found["age_s"] == pytest.approx(age, abs=5)
    end(holder)
    assert not look(lock)["held"]


def test_table_of_one_holder(hold, run, lock):
    holder = hold(lock, "-x")
    done = run("drover-ls", lock)
    assert done.stdout.splitlines()[0] == f"{lock}: held exclusively by 1 process"
    (row,) = rows_of(done.stdout)
    assert row.split()[:3] == [str(holder.pid), str(os.getpid()), "root"]
    assert row.split()[4:6] == ["1025x", "*"]
    assert row.endswith("sleep 1000")
    end(holder)


def test_every_process_that_inherited_it(start, lock, look):
    shell, kids = family(start, lock)
    report = look(lock)
    assert pids_of(report) == {shell.pid, *kids} == holders(lock)
    (description,) = report["descriptions"]
    assert [one["pid"] for one in description["holders"]] == sorted([shell.pid, *kids])
    assert {one["pid"] for one in description["holders"] if one["took_lock"]} == {shell.pid}
    end_family(shell)


def test_pids(start, run, lock):
    shell, kids = family(start, lock)
    done = run("drover-ls", "--pids", lock)
    assert done.returncode == 0
    assert done.stdout == "".join(f"{pid}\n" for pid in sorted([shell.pid, *kids]))
    end_family(shell)


def test_tree(start, run, lock):
    """A child stands below its parent, though another process has a pid between theirs."""
    shell, kids = family(start, lock)
    done = run("drover-ls", "--tree", lock)
    rows = rows_of(done.stdout)
    assert [int(row.split()[0]) for row in rows] == [shell.pid, *sorted(kids)]
    assert not rows[0].rstrip().startswith("\\_") and "\\_" not in rows[0]
    assert all(row.endswith("\\_ sleep 1000") for row in rows[1:])
    assert "\\_" not in run("drover-ls", lock).stdout
    end_family(shell)


def test_tree_is_whole_when_the_master_is_gone(start, run, lock):
    """Every holder has a row, wherever it hangs."""
    shell, kids = family(start, lock)
    os.kill(shell.pid, signal.SIGKILL)
    shell.wait()
    eventually(lambda: all(parent(pid) != shell.pid for pid in kids), "the orphans")
    rows = rows_of(run("drover-ls", "--tree", lock).stdout)
    assert sorted(int(row.split()[0]) for row in rows) == sorted(kids)
    for pid in kids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(map(alive, kids)), "the orphans to end")


def test_taker_that_is_gone_is_told(start, lock, look):
    shell, kids = family(start, lock)
    os.kill(shell.pid, signal.SIGKILL)
    shell.wait()
    (description,) = look(lock)["descriptions"]
    assert description["taker"] == shell.pid
    assert not description["taker_alive"]
    assert not any(one["took_lock"] for one in description["holders"])
    for pid in kids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(map(alive, kids)), "the orphans to end")


def test_two_independent_holds_are_two_groups(hold, lock, run, look):
    """locks 46"""
    first, second = hold(lock), hold(lock)
    groups = [[one["pid"] for one in one_lock["holders"]] for one_lock in look(lock)["descriptions"]]
    assert groups == sorted([[first.pid], [second.pid]])
    assert "held shared by 2 processes, taken 2 times" in run("drover-ls", lock).stdout
    end(first, second)


def test_lock_on_descriptor_0(start, lock, look):
    """locks 50"""
    needs("flock")
    lock.touch(0o600)
    with open(lock) as file:
        holder = start("sh", "-c", "flock -s 0 && exec sleep 1000", stdin=file)
    eventually(lambda: holds(holder.pid, lock), "the holder")
    (found,) = look(lock)["descriptions"][0]["holders"]
    assert (found["pid"], found["fds"]) == (holder.pid, [{"fd": 0, "mode": "shared"}])
    end(holder)


def test_waiters_are_no_holders(hold, wait, run, lock, look):
    """locks 51"""
    holder = hold(lock)
    waiter = wait(lock)
    report = look(lock, "--waiters", "--open")
    assert pids_of(report) == {holder.pid}
    assert [one["pid"] for one in report["waiting"]] == [waiter.pid]
    assert report["open"] == []
    text = run("drover-ls", "--waiters", lock).stdout
    assert f"waiting: {waiter.pid} root drover-wait {lock}\n" in text
    assert str(waiter.pid) not in run("drover-ls", lock).stdout
    end(holder)
    assert finish(waiter)[0] == 0


def test_unlocked_by_a_child(start, run, wait, lock, look):
    """locks 12: nobody holds it any more; --open still shows who has the file."""
    needs("flock")
    script = "sleep 1000 & read line; flock -u 1025; read line; wait"
    shell = start("drover-hold", lock, "bash", "-c", script, stdin=-1)
    eventually(lambda: len(holders(lock)) == 2, "two holders")
    kids = children(shell.pid)
    waiter = wait(lock)
    shell.stdin.write("unlock\n")
    shell.stdin.flush()
    assert finish(waiter)[0] == 0
    eventually(lambda: children(shell.pid) == kids, "flock(1) to end")
    report = look(lock, "--open")
    assert not report["held"]
    assert {one["pid"] for one in report["open"]} == {shell.pid, *kids}
    assert all(one["fds"] == [{"fd": 1025, "mode": "none"}] for one in report["open"])
    assert f"open: {shell.pid} root " in run("drover-ls", "--open", lock).stdout
    for pid in kids:
        os.kill(pid, signal.SIGKILL)
    end(shell)
    eventually(lambda: not any(map(alive, kids)), "the child to end")


def test_main_thread_has_ended(start, lock, look):
    """locks 9: the descriptors are seen by the other thread."""
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    holder = start("drover-hold", lock, *PYTHON, "-c", script)

    def is_headless():
        with open(f"/proc/{holder.pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"

    eventually(is_headless, "the main thread to end")
    report = look(lock)
    assert report["held"]
    assert pids_of(report) == {holder.pid}
    end(holder)


def test_lock_in_flight_has_no_visible_holder(start, run, lock, look):
    """locks 10: the descriptor is in a socket's queue, in no process."""
    script = (
        "import fcntl, os, signal, socket, sys\n"
        "a, b = socket.socketpair()\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT, 0o600)\n"
        "fcntl.flock(fd, fcntl.LOCK_SH)\n"
        "socket.send_fds(a, [b'x'], [fd])\n"
        "os.close(fd)\n"
        "print('sent', flush=True)\n"
        "signal.pause()\n"
    )
    sender = start(*PYTHON, "-c", script, lock)
    assert sender.stdout.readline() == "sent\n"
    report = look(lock)
    assert report["held"] and not report["visible"]
    done = run("drover-ls", lock)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{lock}: held, holder not visible\nnote: ")
    assert "could not be inspected" in done.stdout
    assert run("drover-ls", "--pids", lock).stdout == ""
    end(sender)


# What an operator needs in trouble


def test_deleted_folder_and_program(start, run, folder, lock, look):
    """A release that was pruned under a living server."""
    release = folder / "release"
    release.mkdir()
    program = release / "server"
    program.write_bytes(open("/usr/bin/sleep", "rb").read())
    program.chmod(0o755)
    holder = start("drover-hold", lock, program, "1000", cwd=release)
    eventually(lambda: os.readlink(f"/proc/{holder.pid}/exe") == str(program), "the server")
    assert "note:" not in run("drover-ls", lock).stdout
    program.unlink()
    release.rmdir()
    (found,) = look(lock)["descriptions"][0]["holders"]
    assert found["cwd_deleted"] and found["exe_deleted"]
    text = run("drover-ls", lock).stdout
    assert f"note: {holder.pid}: its working directory was deleted\n" in text
    assert f"note: {holder.pid}: its executable was replaced or deleted\n" in text
    end(holder)


def test_replaced_lock_file(hold, run, lock, look):
    """locks 27, 28: the old file's holder is named, and counts for nothing."""
    old = hold(lock)
    lock.unlink()
    new = hold(lock)
    report = look(lock)
    assert pids_of(report) == {new.pid}
    assert report["stale"] == [old.pid]
    text = run("drover-ls", lock).stdout
    assert f"note: {old.pid}: has a lock file open that was deleted from this path\n" in text
    end(old, new)


def test_deleted_lock_file(hold, run, lock):
    """locks 27"""
    holder = hold(lock)
    lock.unlink()
    done = run("drover-ls", lock)
    assert done.returncode == 66
    assert complains(done.stderr, "drover-ls", str(lock), f"process {holder.pid} still has")
    end(holder)


def test_generation(hold, run, lock, look):
    first = hold(lock, "--new")
    assert look(lock)["generation"] == 0
    end(first)
    second = hold(lock, "--new")
    assert look(lock)["generation"] == 1
    assert run("drover-ls", lock).stdout.startswith(f"{lock}: held shared by 1 process, generation 1\n")
    end(second)


def test_titles_may_have_any_bytes(start, run, lock):
    """Control characters do not reach the terminal; bytes that are no text still make JSON."""
    title = b"evil\x1b[2J\nname\xff"
    script = 'exec -a "$1" sleep 1000'
    holder = start("drover-hold", lock, "bash", "-c", script, "bash", os.fsdecode(title))
    eventually(lambda: holds(holder.pid, lock) and command_of(holder.pid).startswith(title), "the title")
    text = run("drover-ls", lock, text=False).stdout
    assert b"evil?[2J?name\xff 1000\n" in text
    assert b"\x1b" not in text
    report = json.loads(run("drover-ls", "--json", lock, text=False).stdout.decode())
    command = report["locks"][0]["descriptions"][0]["holders"][0]["command"]
    assert command == "evil\x1b[2J\nname\ufffd 1000"
    end(holder)


def command_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


@pytest.mark.parametrize("name", ["-dash", "two words", "new\nline", "üñí", "a" * 250])
def test_any_name_of_a_lock(start, run, folder, look, name):
    path = folder / name
    holder = start("drover-hold", path, "sleep", "1000")
    eventually(lambda: path.exists() and holds(holder.pid, path), "the holder")
    report = look(path)
    assert report["path"] == str(path)
    assert pids_of(report) == {holder.pid}
    assert run("drover-ls", path).stdout.count("\n") == 3
    assert run("drover-ls", "--pids", "--", name).stdout == f"{holder.pid}\n"
    end(holder)


# Many


def test_5000_holders(start, run, lock, look):
    """locks 44: none is left out."""
    script = (
        "import os, signal, sys\n"
        f"for _ in range({COUNT - 1}):\n"
        "    if os.fork() == 0: signal.pause()\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    first = start("drover-hold", lock, *PYTHON, "-c", script, start_new_session=True)
    assert first.stdout.readline() == "ready\n"
    report = look(lock)
    assert pids_of(report) == {first.pid, *children(first.pid)}
    assert len(pids_of(report)) == COUNT
    assert len(run("drover-ls", "--pids", lock).stdout.split()) == COUNT
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    eventually(lambda: not look(lock)["held"], "all to end", 60)


def test_processes_that_come_and_go_during_the_look(start, lock, look):
    """locks 45"""
    script = "while :; do sleep 0.001 & sleep 0.001 & wait; done"
    storm = start("drover-hold", lock, "sh", "-c", script)
    eventually(lambda: holds(storm.pid, lock), "the storm")
    for _ in range(100):
        report = look(lock)
        found = [one for group in report["descriptions"] for one in group["holders"]]
        assert storm.pid in {one["pid"] for one in found}
        assert {one["ppid"] for one in found} <= {os.getpid(), storm.pid}
        assert all(one["command"] for one in found)
        assert len(report["descriptions"]) == 1
    kids = children(storm.pid)
    end(storm)
    eventually(lambda: not any(map(alive, kids)), "the last to end")


def test_several_locks(hold, run, folder):
    held, free = folder / "held.lock", folder / "free.lock"
    holder = hold(held)
    free.touch(0o600)
    both = run("drover-ls", held, free)
    assert both.returncode == 1
    assert both.stdout.startswith(f"{held}: held shared by 1 process\n")
    assert both.stdout.endswith(f"\n\n{free}: free\n")
    report = json.loads(run("drover-ls", "--json", held, free).stdout)
    assert [lock["path"] for lock in report["locks"]] == [str(held), str(free)]
    assert [lock["held"] for lock in report["locks"]] == [True, False]
    assert run("drover-ls", held, held).returncode == 0
    end(holder)


# Whose eyes


def test_in_a_pid_namespace_where_the_taker_is_dead(start, lock):
    """locks 47: /proc/locks shows nothing of it."""
    needs("unshare")
    script = (
        'drover-hold "$1" sh -c "sleep 1000 & exit 0";'
        ' until drover-ls "$1" | grep -q " sleep 1000$"; do :; done; drover-ls --json "$1";'
        ' grep -c FLOCK /proc/locks; kill -9 $(drover-ls --pids "$1")'
    )
    done = start("unshare", "-pf", "--mount-proc", "--kill-child", "sh", "-c", script, "sh", lock)
    code, out, err = finish(done)
    answer, rows = out.splitlines()
    report = json.loads(answer)["locks"][0]
    assert report["held"] and report["visible"], err
    (description,) = report["descriptions"]
    assert not description["taker_alive"]
    assert [one["command"] for one in description["holders"]] == ["sleep 1000"]
    assert rows == "0"


def test_another_user_sees_its_own_and_counts_the_rest(hold, start, run, folder, lock):
    """locks 48"""
    folder.chmod(0o755)
    holder = hold(lock, "--mode", "0644")
    done = run(*as_nobody("drover-ls", "-v", lock))
    assert done.returncode == 0
    assert done.stdout.startswith(f"{lock}: held, holder not visible\n")
    uninspected = re.search(r"processes that could not be inspected: (\d+)", done.stderr)
    assert int(uninspected[1]) > 0
    own = start(*as_nobody("drover-hold", lock, "sleep", "1000"))
    eventually(lambda: holds(own.pid, lock), "the user's own holder")
    report = json.loads(run(*as_nobody("drover-ls", "--json", lock)).stdout)["locks"][0]
    assert pids_of(report) == {own.pid}
    assert report["uninspected"] > 0
    assert report["descriptions"][0]["holders"][0]["uid"] == 65534
    end(holder, own)


def test_unreadable_lock_is_77(hold, run, folder, lock):
    folder.chmod(0o755)
    holder = hold(lock)
    done = run(*as_nobody("drover-ls", lock))
    assert (done.returncode, done.stdout) == (77, "")
    assert complains(done.stderr, "drover-ls", str(lock), "Permission denied")
    end(holder)


@pytest.mark.parametrize("kind", ["tmpfs", "overlay"])
def test_file_systems(start, folder, kind):
    """locks 49: the numbers of their devices differ from those in /proc/locks."""
    needs("unshare")
    for name in ("m", "lower", "upper", "work", "base"):
        (folder / name).mkdir()
    layers = "lowerdir=base/lower,upperdir=base/upper,workdir=base/work"
    mount = {
        "tmpfs": "mount -t tmpfs tmpfs m",
        "overlay": f"mount -t tmpfs tmpfs base && mkdir base/lower base/upper base/work"
        f" && touch base/lower/a.lock && mount -t overlay overlay -o {layers} m",
    }[kind]
    look = "drover-ls --pids m/a.lock; echo $$ $child"
    script = f'{mount} && drover-hold m/a.lock sh -c "$1"'
    command = f"sleep 1000 & child=$!; {look}; kill -9 $child; wait $child || true"
    code, out, err = finish(start("unshare", "-m", "sh", "-c", script, "sh", command))
    assert code == 0, err
    assert sorted(out.split()[:2]) == sorted(out.split()[2:])


# Options


def test_quiet_says_nothing(hold, run, lock):
    holder = hold(lock)
    held = run("drover-ls", "-q", lock)
    assert (held.returncode, held.stdout, held.stderr) == (0, "", "")
    end(holder)
    free = run("drover-ls", "-q", lock)
    assert (free.returncode, free.stdout, free.stderr) == (1, "", "")


@pytest.mark.parametrize(
    "options", [("--json", "--tree"), ("--json", "--pids"), ("--tree", "--pids"), ("--nonsense",), ()]
)
def test_wrong_usage_is_64(run, lock, options):
    done = run("drover-ls", *options, *([lock] if options else []))
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("drover-ls: ")
    assert "drover-ls --help" in done.stderr


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "device"])
def test_no_lock_file_is_66(run, folder, kind):
    path = folder / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        path = "/dev/null"
    done = run("drover-ls", path)
    assert (done.returncode, done.stdout) == (66, "")
    assert complains(done.stderr, "drover-ls", str(path))


def test_full_standard_output_is_told(hold, run, lock):
    holder = hold(lock)
    with open("/dev/full", "w") as full:
        done = run("drover-ls", lock, capture_output=False, stdout=full, stderr=-1)
    assert done.returncode == 73
    assert complains(done.stderr, "drover-ls", "standard output", "No space left")
    end(holder)


def test_it_makes_no_holder_fail(start, run, folder, lock):
    """locks 18: whatever it asks the kernel is over before anybody notices."""
    lock.touch(0o600)
    script = 'until [ -e stop ]; do drover-ls "$1"; done; :'
    asker = start("sh", "-c", script, "sh", lock)
    for _ in range(50):
        assert asker.stdout.readline()
        for options in [("-n",), ("-x", "-n")]:
            done = run("drover-hold", *options, lock, "true")
            assert (done.returncode, done.stderr) == (0, "")
    (folder / "stop").touch()
    assert finish(asker)[::2] == (0, "")


def test_it_takes_nothing_away(run, lock):
    """Nothing in the file changes."""
    lock.write_text("kept")
    before = lock.stat()
    for _ in range(50):
        assert run("drover-ls", "-q", lock).returncode == 1
    after = lock.stat()
    assert lock.read_text() == "kept"
    assert (before.st_mtime_ns, before.st_mode) == (after.st_mtime_ns, after.st_mode)


def test_deep_tree(start, run, lock):
    """No row is left out, however deep it hangs."""
    script = (
        "import os, signal\n"
        "for _ in range(80):\n"
        "    if os.fork(): break\n"
        "else: print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    first = start("drover-hold", lock, *PYTHON, "-c", script, start_new_session=True)
    assert first.stdout.readline() == "ready\n"
    assert len(rows_of(run("drover-ls", "--tree", lock).stdout)) == 81
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    eventually(lambda: run("drover-ls", "-q", lock).returncode == 1, "all to end")


@pytest.mark.parametrize("way", ["link", "./real", "real/../real"])
def test_replaced_lock_file_by_another_way(hold, run, folder, way):
    """/var/run is a link to /run."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    old = hold(folder / "real" / "a.lock")
    (folder / "real" / "a.lock").unlink()
    assert f"process {old.pid} still has" in run("drover-ls", f"{way}/a.lock").stderr
    (folder / "real" / "a.lock").touch()
    assert f"note: {old.pid}: has a lock file open" in run("drover-ls", f"{way}/a.lock").stdout
    end(old)


ASKER = (
    "import fcntl, os, sys, time\n"
    "fd = os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT, 0o600)\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    fcntl.flock(fd, fcntl.LOCK_EX); time.sleep(0.005)\n"
    "    fcntl.flock(fd, fcntl.LOCK_UN); time.sleep(0.01)\n"
)


def test_whoever_asks_is_no_holder(start, run, lock):
    """Exclusive for an instant, on a descriptor that no command inherits: drover-wait's way to ask."""
    asker = start(*PYTHON, "-c", ASKER, lock)
    assert asker.stdout.readline() == "ready\n"
    answers = [run("drover-ls", lock).stdout == f"{lock}: free\n" for _ in range(30)]
    # On a starved machine an instant may last for longer than a look has patience.
    assert answers.count(False) <= 1
    end(asker)


def test_holder_of_a_file_with_the_same_number_elsewhere(start, folder):
    """Each tmpfs begins to count its files anew."""
    needs("unshare")
    (folder / "asker.py").write_text(ASKER)
    script = (
        "mkdir a b && mount -t tmpfs tmpfs a && mount -t tmpfs tmpfs b && touch a/lock b/lock &&"
        " [ $(stat -c %i a/lock) = $(stat -c %i b/lock) ] || exit 9\n"
        "drover-hold b/lock sleep 1000 & holder=$!\n"
        f"{' '.join(PYTHON)} asker.py a/lock >ready & asker=$!\n"
        "until [ -s ready ] && ! drover-wait -n b/lock; do :; done\n"
        "for round in $(seq 60); do drover-ls a/lock; done >answers\n"
        "kill $holder $asker; wait"
    )
    shell = start("unshare", "--mount", "sh", "-c", script)
    _, err = shell.communicate(timeout=60)
    assert shell.returncode in (0, 143), err
    lines = (folder / "answers").read_text().splitlines()
    answers = [line for line in lines if line.startswith("a/lock: ")]
    assert len(answers) == 60 and sum(answer != "a/lock: free" for answer in answers) <= 1


def test_foreign_holder_that_no_command_inherits(start, run, lock):
    """The same descriptor, kept."""
    script = (
        "import fcntl, os, signal, sys\n"
        "fcntl.flock(os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT, 0o600), fcntl.LOCK_EX)\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    holder = start(*PYTHON, "-c", script, lock)
    assert holder.stdout.readline() == "ready\n"
    assert run("drover-ls", "--pids", lock).stdout == f"{holder.pid}\n"
    end(holder)


def test_zombie_that_took_the_lock_is_not_alive(start, lock, look):
    taker = start("drover-hold", lock, "sh", "-c", "sleep 1000 >/dev/null 2>&1 & exit 0")
    eventually(lambda: not alive(taker.pid), "the taker's end")
    (description,) = look(lock)["descriptions"]
    assert description["taker"] == taker.pid and not description["taker_alive"]
    (sleeper,) = description["holders"]
    os.kill(sleeper["pid"], signal.SIGKILL)
    taker.wait()
