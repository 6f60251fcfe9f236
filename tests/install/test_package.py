"""The package as a user gets it: installed from the release build, run from where it landed."""

import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from conftest import BUILD, needs
from support.processes import eventually, in_flock

PROGRAMS = ["drover-companions", "drover-ctl", "drover-doctor", "drover-exec", "drover-herd", "drover-hold", "drover-ls",
            "drover-wait"]


@pytest.fixture(scope="module")
def installed():
    """A root folder with the unpacked .deb."""
    needs("cpack", "dpkg-deb")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="drover."))
    try:
        with open(BUILD / "CPackConfig.cmake") as build:
            fcntl.flock(build, fcntl.LOCK_EX)  # cpack writes in the build folder, too
            done = subprocess.run(
                ["cpack", "-B", folder, "-G", "DEB"], cwd=BUILD, capture_output=True, text=True
            )
        assert done.returncode == 0, done.stdout + done.stderr
        (package,) = folder.glob("drover_*.deb")
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
        yield folder / "root", package
    finally:
        shutil.rmtree(folder)


def test_programs_run_from_the_package(installed, run):
    root, _ = installed
    assert sorted(path.name for path in (root / "usr/bin").iterdir()) == PROGRAMS
    for program in PROGRAMS:
        assert run(root / "usr/bin" / program, "--version").stdout.startswith(f"{program} (drover) ")


def test_programs_are_static(installed, run):
    """A static program starts and ends faster, and runs on any system."""
    needs("file")
    root, package = installed
    for program in PROGRAMS:
        assert "statically linked" in run("file", root / "usr/bin" / program).stdout
    depends = run("dpkg-deb", "-f", package, "Depends").stdout.strip()
    assert depends == ""


def test_pages_completions_hooks_and_examples_are_in_the_package(installed):
    share = installed[0] / "usr/share"
    for program in PROGRAMS:
        assert (share / f"man/man1/{program}.1").stat().st_size > 1000
        assert (share / f"bash-completion/completions/{program}").exists()
        assert (share / f"zsh/vendor-completions/_{program}").exists()
        assert (share / f"fish/vendor_completions.d/{program}.fish").exists()
    assert (share / "man/man7/drover.7").exists()
    assert {path.name for path in (share / "drover").iterdir()} == {"drover.rb", "drover.py"}
    assert os.access(share / "doc/drover/examples/systemd/start", os.X_OK)
    documents = ("README.md", "docs/hot-reload.svg", "docs/replacing.md", "LICENSE", "CHANGELOG.md")
    for name in (*documents, "examples/systemd", "examples/unicorn"):
        assert (share / "doc/drover" / name).exists()


def test_the_installed_tools_do_the_main_job(installed, start, run, lock):
    tools = installed[0] / "usr/bin"
    holder = start(tools / "drover-hold", lock, "sleep", "1000")
    eventually(lambda: run(tools / "drover-ls", "-q", lock).returncode == 0, "the holder")
    waiter = start(tools / "drover-wait", lock)
    eventually(lambda: in_flock(waiter.pid), "the waiter to block")
    holder.kill()
    assert waiter.wait(timeout=20) == 0
