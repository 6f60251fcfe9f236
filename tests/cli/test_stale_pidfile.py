"""A killed service leaves its pidfile; servers refuse to start when the number lives again."""

import os

import pytest

from conftest import needs
from support.processes import alive, eventually


@pytest.fixture
def pidfile(folder):
    return folder / "app.pid"


def begin(run, pidfile, *options):
    return run("drover-hold", "--new", "-n", *options, "--pidfile", pidfile, "true")


def test_number_of_nobody(run, start, pidfile):
    dead = start("true")
    dead.wait()
    pidfile.write_text(f"{dead.pid}\n")
    result = begin(run, pidfile)
    assert result.returncode == 0
    assert f"removed '{pidfile}', whose writer, process {dead.pid}, is gone" in result.stderr
    assert not pidfile.exists()


@pytest.mark.parametrize("suffix", [".oldbin", ".2"])
def test_names_of_a_reload(run, start, pidfile, suffix):
    """What kill -9 in the middle of a reload leaves keeps a server from every later one."""
    stranger = start("sleep", "1000")
    old = pidfile.with_name(pidfile.name + suffix)
    old.write_text(f"{stranger.pid}\n")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert f"removed '{old}'" in begin(run, pidfile).stderr
    assert not old.exists() and stranger.poll() is None
    stranger.kill()


def test_link_to_the_pidfile_of_a_living_master(run, start, folder, pidfile):
    """The file counts that was read, not the link, which is older than the master."""
    pidfile.symlink_to("real.pid")
    os.utime(pidfile, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    master = start("sleep", "1000")
    (folder / "real.pid").write_text(f"{master.pid}\n")
    assert begin(run, pidfile).returncode == 0
    assert pidfile.read_text() == f"{master.pid}\n"
    master.kill()
    master.wait()
    assert begin(run, pidfile).returncode == 0
    assert pidfile.is_symlink() and not pidfile.exists()


def test_number_of_a_zombie(run, start, pidfile):
    zombie = start("true")
    eventually(lambda: not alive(zombie.pid), "its end")
    pidfile.write_text(f"{zombie.pid}\n")
    assert begin(run, pidfile).returncode == 0
    assert not pidfile.exists()
    zombie.wait()


def test_number_that_is_somebody_elses_now(run, start, pidfile):
    stranger = start("sleep", "1000")
    pidfile.write_text(f"{stranger.pid}\n")
    os.utime(pidfile, (1_000_000_000, 1_000_000_000))  # written long before the stranger started
    assert begin(run, pidfile).returncode == 0
    assert not pidfile.exists()
    assert stranger.poll() is None
    stranger.kill()


def test_master_that_lives_without_the_lock(run, start, pidfile):
    """Its server dropped the lock: the pidfile is what keeps a second one from starting."""
    master = start("sleep", "1000")
    pidfile.write_text(f"{master.pid}\n")
    assert begin(run, pidfile).returncode == 0
    assert pidfile.read_text() == f"{master.pid}\n"
    master.kill()


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 2\n"])
def test_what_is_no_number_stays(run, pidfile, text):
    pidfile.write_text(text)
    assert begin(run, pidfile).returncode == 0
    assert pidfile.read_text() == text


def test_only_a_new_generation_removes_it(run, start, pidfile):
    dead = start("true")
    dead.wait()
    pidfile.write_text(f"{dead.pid}\n")
    assert run("drover-hold", "-x", "--pidfile", pidfile, "true").returncode == 0
    assert pidfile.exists()


def test_with_a_guard(run, start, pidfile):
    dead = start("true")
    dead.wait()
    pidfile.write_text(f"{dead.pid}\n")
    assert begin(run, pidfile, "--guard").returncode == 0
    assert not pidfile.exists()


def test_folder_that_cannot_be_written(run, start, folder, pidfile):
    """The lock cannot be replaced there either; it says so and starts nothing."""
    dead = start("true")
    dead.wait()
    folder.chmod(0o777)
    run("drover-hold", "--mode", "0666", "--pidfile", pidfile, "true")
    pidfile.write_text(f"{dead.pid}\n")
    folder.chmod(0o555)
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    result = run(*nobody, "drover-hold", "--new", "-n", "--pidfile", pidfile, "echo", "started")
    assert result.returncode == 125 and "started" not in result.stdout
    assert pidfile.exists()
    folder.chmod(0o755)


@pytest.mark.parametrize("answer", ["EPERM", "ENOSYS", "EMFILE"])
@pytest.mark.parametrize("recycled", [False, True])
def test_master_that_cannot_be_opened(run, start, folder, pidfile, answer, recycled):
    """pidfd_open(2) refused does not mean dead; the time of its start still tells."""
    needs("strace")
    master = start("sleep", "1000")
    pidfile.write_text(f"{master.pid}\n")
    if recycled:
        os.utime(pidfile, (1_000_000_000, 1_000_000_000))
    inject = ("-e", "trace=pidfd_open", "-e", f"inject=pidfd_open:error={answer}")
    words = ("drover-hold", "--new", "-n", "--pidfile", pidfile, "true")
    traced = ("strace", "-qq", "-o", folder / "trace", *inject)
    done = run(*traced, *words, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert done.returncode == 0
    assert "INJECTED" in (folder / "trace").read_text()
    assert pidfile.exists() != recycled
    master.kill()
