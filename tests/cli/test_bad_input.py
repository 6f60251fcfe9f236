"""What people and machines get wrong: one clear line, the right code, no harm done."""

import os

import pytest

from conftest import needs
from support.flocks import IN_SANITIZER_BUILD, complains, end, hold  # noqa: F401

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
WAIT = ("drover-wait",)
HOLD = ("drover-hold",)


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
    done = run(*HOLD, os.fsdecode(path), "true")
    assert done.returncode == 0, done.stderr
    assert os.path.exists(path)


def test_control_characters_cannot_forge_a_line(run, folder):
    done = run("drover-wait", "a\nb\x1b[31m\r")
    assert done.returncode == 66
    assert done.stderr.splitlines()[0].startswith("drover-wait: cannot wait for 'a\\x0ab\\x1b[31m\\x0d'")
    assert complains(done.stderr, "drover-wait")


def test_unreadable_lock(run, folder, lock):
    folder.chmod(0o777)
    lock.write_text("precious")
    lock.chmod(0o600)
    assert fails(run(*NOBODY, *hold_command(lock)), folder, 125, str(lock), "Permission denied")
    assert fails(run(*NOBODY, "drover-wait", lock), folder, 77, str(lock), "Permission denied")
    assert lock.read_text() == "precious"


def test_folder_that_cannot_be_written(run, folder, lock):
    folder.chmod(0o755)
    assert fails(run(*NOBODY, *hold_command(lock)), folder, 125, str(lock), "Permission denied")


def test_folder_that_cannot_be_searched(run, folder, lock):
    lock.touch(0o666)
    folder.chmod(0o700)
    done = run(*NOBODY, "drover-wait", lock, cwd="/")
    assert fails(done, folder, 77, str(lock), "Permission denied")


def test_readable_lock_of_another_user_can_be_held(run, folder, lock):
    """Only the touch needs write permission; that it fails is no failure."""
    folder.chmod(0o755)
    lock.touch()
    lock.chmod(0o644)
    os.utime(lock, (1, 1))
    done = run(*NOBODY, "drover-hold", lock, "echo", "ran")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    assert lock.stat().st_mtime == 1


def in_mount(folder, options, script, *words):
    """A shell with a tmpfs of its own at FOLDER/mount, gone when it ends."""
    needs("unshare")
    (folder / "mount").mkdir()
    text = f"mount -t tmpfs -o {options} none mount && {script}"
    return ("unshare", "-m", "sh", "-c", text, "sh", *words)


def test_read_only_file_system(run, folder):
    """locks 33: an old file can be held and waited for, a new one cannot be made"""
    script = (
        "touch mount/old && mount -o remount,ro mount && for f in old new; do "
        "drover-hold mount/$f echo $f; echo $?; drover-wait mount/$f; echo $?; done"
    )
    done = run(*in_mount(folder, "size=1m", script))
    assert done.stdout.split() == ["old", "0", "66", "125", "66"]
    assert "drover-hold: cannot create lock file" in done.stderr
    assert "mount/new': Read-only file system" in done.stderr


def test_full_file_system(run, folder):
    """No inode is left: a new file cannot be made, an old one works."""
    script = (
        "touch mount/old; i=0; while touch mount/f$i 2>/dev/null; do i=$((i+1)); done; "
        "for f in old new; do drover-hold mount/$f echo $f; echo $?; done"
    )
    done = run(*in_mount(folder, "size=64k,nr_inodes=8", script))
    assert done.stdout.split() == ["old", "0", "125"]
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


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="its libraries want descriptors of their own")
def test_no_descriptor_left_for_hold(run, folder, lock):
    """locks 43"""
    done = run(*limited(3, *hold_command(lock)))
    assert done.returncode == 125
    (line,) = [line for line in done.stderr.splitlines() if "cannot" in line]
    assert "Too many open files" in line
    assert not (folder / "ran").exists() and not lock.exists()


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="its libraries want descriptors of their own")
@pytest.mark.parametrize("options", [(), ("-w", "1"), ("--start", "1"), ("--relay", "app.pid")])
def test_no_descriptor_left_for_wait(hold, run, folder, lock, options):
    holder = hold(lock)
    for number in range(3, 9):
        done = run(*limited(number, "drover-wait", "-E", "1", *options, "-w", "20ms", lock))
        assert done.returncode in (1, 71), done.stderr
        assert done.stderr.startswith("drover-wait: ")
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


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="its libraries want descriptors of their own")
def test_soft_limit_with_all_descriptors_in_use(run, lock):
    """locks 43: the hard limit has room, the soft one is back afterwards"""
    script = (
        "ulimit -Sn 16; for i in $(seq 3 15); do eval \"exec $i</dev/null\"; done; "
        "exec 4<&-; exec drover-hold \"$1\" bash -c 'echo $DROVER_LOCK_FD; ulimit -Sn'"
    )
    done = run("bash", "-c", script, "bash", lock)
    assert (done.returncode, done.stdout.split()) == (0, ["1025", "16"]), done.stderr


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="a sanitizer reserves terabytes of addresses")
def test_no_memory(run, lock):
    """Many locks and no room for their threads."""
    paths = [lock.with_name(f"{number}.lock") for number in range(50)]
    script = 'for f; do exec {n}<>"$f"; flock -s $n; done; ulimit -v 5000; drover-wait -w 1 "$@" & wait $!'
    done = run("bash", "-c", script, "bash", *paths)
    assert done.returncode in (71, 78)
    assert complains(done.stderr, "drover-wait")


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
