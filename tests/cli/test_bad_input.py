"""What people and machines get wrong: one clear line, the right code, no harm done."""

import os

import pytest

from conftest import needs
from support.flocks import IN_SANITIZER_BUILD, Keeper, as_nobody, complains, end, hold  # noqa: F401

needs_own_descriptors = pytest.mark.skipif(
    IN_SANITIZER_BUILD, reason="its libraries want descriptors of their own"
)


def hold_command(*words):
    """A drover-hold that must not run its command."""
    return ("drover-hold", *words, "touch", "ran")


def fails(done, folder, code, *words, command_may_run=False):
    program = "drover-wait" if "drover-wait" in done.args else "drover-hold"
    assert done.returncode == code, done.stderr
    assert complains(done.stderr, program, *words)
    assert done.stdout == ""
    assert command_may_run or not (folder / "ran").exists()
    return True


def test_folder_of_the_lock_is_missing(run, folder):
    lock = folder / "none" / "a.lock"
    assert fails(run(*hold_command(lock)), folder, 125, str(lock), "No such file", "folder must exist")
    assert fails(run("drover-wait", lock), folder, 66, str(lock))
    assert not lock.parent.exists()


def test_folder_of_the_lock_is_a_file(run, folder):
    (folder / "file").touch()
    lock = folder / "file" / "a.lock"
    assert fails(run(*hold_command(lock)), folder, 125, str(lock), "Not a directory")
    assert fails(run("drover-wait", lock), folder, 66, str(lock), "Not a directory")


def test_trailing_slash(run, folder, lock):
    lock.touch()
    assert fails(run(*hold_command(f"{lock}/")), folder, 125, "Not a directory")
    assert fails(run("drover-wait", f"{lock}/"), folder, 66, "Not a directory")


def test_empty_name(run, folder):
    done = run(*hold_command(""))
    assert done.returncode == 125 and done.stderr.startswith("drover-hold: ")
    assert fails(run("drover-wait", ""), folder, 66, "''")


@pytest.mark.parametrize("length", [256, 5000, 100_000])
def test_name_that_is_too_long(run, folder, length):
    name = "x" * length
    assert fails(run(*hold_command(name)), folder, 125, "File name too long")
    assert fails(run("drover-wait", name), folder, 66, "File name too long")


@pytest.mark.parametrize("name", [b"\xff\xfe", "\u00fc".encode(), b"a b\tc", b"'q'\"", b"-x"])
def test_any_bytes_are_a_name(run, folder, name):
    path = os.path.join(os.fsencode(folder), name)
    done = run("drover-hold", os.fsdecode(path), "true")
    assert done.returncode == 0, done.stderr
    assert os.path.exists(path)


def test_control_characters_cannot_forge_a_line(run):
    done = run("drover-wait", "a\nb\x1b[31m\r")
    assert done.returncode == 66
    assert done.stderr.splitlines()[0].startswith("drover-wait: cannot wait for 'a\\x0ab\\x1b[31m\\x0d'")
    assert complains(done.stderr, "drover-wait")


def test_unreadable_lock(run, folder, lock):
    folder.chmod(0o777)
    lock.write_text("precious")
    lock.chmod(0o600)
    assert fails(run(*as_nobody(*hold_command(lock))), folder, 125, str(lock), "Permission denied")
    assert fails(run(*as_nobody("drover-wait", lock)), folder, 77, str(lock), "Permission denied")
    assert lock.read_text() == "precious"


def test_folder_that_cannot_be_written(run, folder, lock):
    folder.chmod(0o755)
    assert fails(run(*as_nobody(*hold_command(lock))), folder, 125, str(lock), "Permission denied")


def test_folder_that_cannot_be_searched(run, folder, lock):
    lock.touch(0o666)
    folder.chmod(0o700)
    done = run(*as_nobody("drover-wait", lock), cwd="/")
    assert fails(done, folder, 77, str(lock), "Permission denied")


def test_readable_lock_of_another_user_can_be_held(run, folder, lock):
    """Only the touch needs write permission; that it fails is no failure."""
    folder.chmod(0o755)
    lock.touch()
    lock.chmod(0o644)
    os.utime(lock, (1, 1))
    done = run(*as_nobody("drover-hold", lock, "echo", "ran"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    assert lock.stat().st_mtime == 1


def in_mount(folder, options, script, *words):
    """A shell with a tmpfs of its own at FOLDER/mount, gone when it ends."""
    needs("unshare")
    (folder / "mount").mkdir()
    text = f"mount -t tmpfs -o {options} none mount && {script}"
    return ("unshare", "-m", "sh", "-c", text, "sh", *words)


# The number of holders that drover-ls finds while mount/$f is held, then the exit codes of all three.
HOLD_WAIT_LIST = (
    'drover-hold mount/$f sh -c "drover-ls --pids mount/$f >listed; wc -l <listed"; echo $?; '
    "drover-wait mount/$f; echo $?; drover-ls -q mount/$f; echo $?"
)


def test_read_only_file_system(run, folder):
    """locks 33: an old file can be held, waited for and listed, a new one cannot be made"""
    script = (
        "touch mount/old && mount -o remount,ro mount && for f in old new; do "
        f"{HOLD_WAIT_LIST}; done"
    )
    done = run(*in_mount(folder, "size=1m", script))
    assert done.stdout.splitlines() == ["1", "0", "66", "1", "125", "66", "66"]
    assert "drover-hold: cannot create lock file" in done.stderr
    assert "mount/new': Read-only file system" in done.stderr


def test_full_file_system(run, folder):
    """No inode is left: a new file cannot be made, an old one can be held, waited for and listed."""
    script = (
        "touch mount/old; i=0; while touch mount/f$i 2>/dev/null; do i=$((i+1)); done; "
        f"for f in old new; do {HOLD_WAIT_LIST}; done"
    )
    done = run(*in_mount(folder, "size=64k,nr_inodes=8", script))
    assert done.stdout.splitlines() == ["1", "0", "66", "1", "125", "66", "66"]
    assert "mount/new': No space left on device" in done.stderr


def test_full_file_system_and_a_new_generation(run, folder):
    """The old generation stays; no half-made file is left."""
    script = (
        "touch mount/L; dd if=/dev/zero of=mount/big bs=4k 2>/dev/null; drover-hold --new mount/L touch ran; "
        'echo $?; ls mount; stat -c %s mount/L; echo $(cat mount/L)'
    )
    done = run(*in_mount(folder, "size=64k", script))
    assert done.stdout.split() == ["125", "L", "big", "0"]
    assert complains(done.stderr, "drover-hold", "mount/L.new", "No space left on device")
    assert not (folder / "ran").exists()


def test_working_folder_that_is_gone(run, folder):
    script = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    words = ("bash", "-c", script, "bash")
    assert fails(run(*words, *hold_command("a.lock")), folder, 125, "a.lock", "No such file")
    assert run(*words, "drover-wait", "a.lock").returncode == 66
    assert run(*words, "drover-hold", folder / "b.lock", "true").returncode == 0


def limited(number, *words):
    needs("prlimit")
    return ("prlimit", f"--nofile={number}", *words)


def first_that_suffices(run, code, *words):
    """The outcome with the first number of descriptors that suffices; with fewer it fails and says why."""
    for number in range(3, 20):
        done = run(*limited(number, *words))
        if number > 3 and done.returncode != code:
            return done
        assert done.returncode == code
        assert "Too many open files" in done.stderr
    return done


@needs_own_descriptors
@pytest.mark.parametrize("options", [(), ("-x", "-n"), ("--new",), ("--guard",)])
def test_no_descriptor_left_for_hold(run, folder, lock, options):
    """locks 43"""
    done = run(*limited(3, *hold_command(*options, lock)))
    assert fails(done, folder, 125, str(lock), "Too many open files")
    assert not lock.exists()
    # A command that needs no descriptor.
    done = first_that_suffices(run, 125, "drover-hold", *options, lock, "drover-hold", "--version")
    assert (done.returncode, done.stdout[:12]) == (0, "drover-hold "), done.stderr


@needs_own_descriptors
@pytest.mark.parametrize("options", [(), ("--start", "1"), ("--relay", "app.pid"), ("--grace", "1")])
def test_no_descriptor_left_for_wait(hold, run, lock, options):
    holder = hold(lock)
    done = first_that_suffices(run, 71, "drover-wait", *options, "-w", "20ms", lock)
    assert done.returncode == 1, done.stderr
    assert "still held" in done.stderr
    end(holder)


@needs_own_descriptors
@pytest.mark.parametrize("options", [(), ("--json",), ("--waiters", "--open", "--tree")])
def test_no_descriptor_left_for_ls(hold, run, lock, options):
    holder = hold(lock)
    done = first_that_suffices(run, 71, "drover-ls", *options, lock)
    assert done.returncode == 0, done.stderr
    assert str(holder.pid) in done.stdout and "sleep 1000" in done.stdout
    end(holder)


@needs_own_descriptors
def test_hard_limit_with_all_descriptors_in_use(hold, run, folder, lock):
    """locks 43"""
    holder = hold(lock)
    new = folder / "new.lock"
    script = (
        "ulimit -n 16; for i in $(seq 3 15); do eval \"exec $i</dev/null\"; done; "
        'drover-hold "$2" touch ran; echo $?; drover-wait "$1"; echo $?; drover-ls "$1"; echo $?'
    )
    done = run("bash", "-c", script, "bash", lock, new)
    assert done.stdout.split() == ["125", "71", "71"]
    assert done.stderr.splitlines() == [
        f"drover-hold: cannot open lock file '{new}': Too many open files",
        f"drover-wait: cannot open lock file '{lock}': Too many open files",
        f"drover-ls: cannot open lock file '{lock}': Too many open files",
    ]
    assert not new.exists() and not (folder / "ran").exists()
    end(holder)


@pytest.mark.parametrize("number", [16, 512, 1024, 1025])
def test_hard_limit_below_the_high_descriptors(run, lock, number):
    """A low descriptor is used, and the consequence is said."""
    done = run(*limited(number, "drover-hold", lock, "sh", "-c", "echo $DROVER_LOCK_FD"))
    assert done.returncode == 0
    assert 3 <= int(done.stdout) < number
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("drover-hold: no descriptor above 1024") and "unicorn" in done.stderr


def test_hard_limit_just_high_enough(run, lock):
    done = run(*limited(1026, "drover-hold", lock, "sh", "-c", "echo $DROVER_LOCK_FD"))
    assert (done.stdout, done.stderr) == ("1025\n", "")


def test_number_above_the_hard_limit(run, folder, lock):
    done = run(*limited(64, *hold_command("--fd", "64", lock)))
    assert fails(done, folder, 125, "'64'", "ulimit -Hn")


@needs_own_descriptors
def test_soft_limit_with_all_descriptors_in_use(run, lock):
    """locks 43: the hard limit has room, the soft one is back afterwards"""
    script = (
        "ulimit -Sn 16; for i in $(seq 3 15); do eval \"exec $i</dev/null\"; done; "
        "exec 4<&-; exec drover-hold \"$1\" bash -c 'echo $DROVER_LOCK_FD; ulimit -Sn'"
    )
    done = run("bash", "-c", script, "bash", lock)
    assert (done.returncode, done.stdout.split()) == (0, ["1025", "16"]), done.stderr


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="a sanitizer reserves terabytes of addresses")
def test_no_memory(start, run, folder):
    """Many locks and no room for their threads."""
    paths = [folder / f"{number}.lock" for number in range(500)]
    keeper = Keeper(start, paths)
    script = 'ulimit -v "$1"; shift; exec drover-wait -w 1ms "$@"'
    assert run("sh", "-c", script, "sh", "unlimited", *paths).returncode == 1
    done = run("sh", "-c", script, "sh", "8000", *paths)
    assert done.returncode == 71
    assert complains(done.stderr, "drover-wait", "start a thread")
    end(keeper.process)


def test_command_not_found(run, folder, lock):
    for command in ("no-such-command", folder / "none", "", folder / "none" / "x"):
        done = run("drover-hold", lock, command)
        assert done.returncode == 127
        assert done.stderr == f"drover-hold: cannot run '{command}': No such file or directory\n"


def test_command_below_a_file(run, folder, lock):
    (folder / "file").touch()
    assert run("drover-hold", lock, folder / "file" / "x").returncode == 127


def test_command_not_executable(run, folder, lock):
    (folder / "plain").write_text("#!/bin/sh\n")
    done = run("drover-hold", lock, folder / "plain")
    assert done.returncode == 126
    assert done.stderr == f"drover-hold: cannot run '{folder}/plain': Permission denied\n"
    done = run("drover-hold", lock, folder)
    assert done.returncode == 126
    (folder / "bad").write_text("#!/no/such/interpreter\n")
    (folder / "bad").chmod(0o755)
    assert run("drover-hold", lock, folder / "bad").returncode == 127


def test_command_that_cannot_run_leaves_no_lock(run, lock):
    run("drover-hold", lock, "no-such-command")
    assert run("drover-wait", lock).returncode == 66


WRONG = [
    "", "LOCK", "LOCK --", "--", "--pidfile P", "--bogus LOCK true", "-Z LOCK true", "-w",
    "-w x LOCK true", "-E 256 LOCK true", "--fd",
]  # fmt: skip


@pytest.mark.parametrize("words", [text.split() for text in WRONG], ids=WRONG)
def test_wrong_command_line_of_hold_is_125(run, folder, words):
    done = run("drover-hold", *words)
    assert done.returncode == 125
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("drover-hold: ") for line in lines)
    assert lines[1] == "drover-hold: hint: see 'drover-hold --help'"
    assert os.listdir(folder) == []
