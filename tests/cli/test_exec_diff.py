"""drover-exec --diff: what the next reload of a process would change."""

import os
import shutil
import subprocess

import pytest

from support.environments import site  # noqa: F401
from support.flocks import as_nobody, end
from support.processes import eventually

SECRET = "hunter2-hunter2"


def running(site, start, path, **options):
    """A command that was started by the wrapper."""
    process = start(path, cwd=site.app, env=site.clean, **options)

    def is_sleep():
        """With an environment: it gets its new name first."""
        with open(f"/proc/{process.pid}/comm") as name, open(f"/proc/{process.pid}/environ") as environment:
            return (name.read() == "sleep\n" and environment.read()) or process.poll() is not None

    eventually(is_sleep, "the command")
    assert process.poll() is None, process.stderr.read()
    return process


def test_diff_of_nothing(site, start):
    """A server that this wrapper has started, and nothing has changed since: 0, and no line."""
    path = site.wrapper('command = ["sleep", "1000"]\n[env]\nA = "1"')
    process = running(site, start, path)
    result = site.drover_exec("--diff", process.pid, path)
    end(process)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout


def test_diff(site, start):
    """What a reload would change: the version, a variable of the file, one that has gone."""
    site.rbenv("3.1.2", "3.1.10")
    (site.app / ".ruby-version").write_text("3.1.2\n")
    (site.app / "env").write_text(f"OLD=1\nSAME=1\nTOKEN={SECRET}\n")
    path = site.wrapper('command = ["sleep", "1000"]\nruby = "auto"\nenv_file = "env"')
    process = running(site, start, path)
    (site.app / ".ruby-version").write_text("3.1.10\n")
    (site.app / "env").write_text(f"NEW=1\nSAME=1\nTOKEN={SECRET}2\n")
    result = site.drover_exec("--diff", process.pid, path)
    end(process)
    lines = result.stdout.splitlines()
    assert result.returncode == 1 and "- OLD=1" in lines and "+ NEW=1" in lines
    assert "~ TOKEN: <masked, 15 bytes> -> <masked, 16 bytes>" in lines and "SAME" not in "".join(
        line for line in lines if "DROVER_STATE" not in line)  # fmt: skip
    assert SECRET not in result.stdout
    assert "versions/3.1.10/bin" in result.stdout and "versions/3.1.2/bin" in result.stdout


@pytest.mark.parametrize("change", ['[env]\nTOKEN = "other"', 'unset = ["TOKEN"]'])
def test_diff_does_not_show_the_record(site, start, change):
    """scenario 44: the old value of a changed secret is in DROVER_STATE."""
    process = start("sleep", "1000", env={"TOKEN": SECRET})
    result = site.drover_exec("--diff", process.pid, site.wrapper(f'command = ["true"]\n{change}'))
    end(process)
    assert result.returncode == 1 and SECRET not in result.stdout, result.stdout


def test_diff_of_no_process(site):
    site.refused("--diff", "4194304", site.wrapper('command = ["true"]'), code=66)


def test_diff_with_another_home(site, start):
    """Asked by somebody else than the server's user, the server's managers count."""
    site.rbenv("3.1.2")
    path = site.wrapper('command = ["sleep", "1000"]\nruby = "3.1.2"')
    process = running(site, start, path)
    result = site.drover_exec("--diff", process.pid, path, env={**site.clean, "HOME": "/nowhere"})
    end(process)
    assert result.returncode in (0, 1), result.stderr


def test_diff_of_a_process_of_another(site):
    os.chmod(site.folder, 0o755)
    path = site.wrapper('command = ["true"]')
    result = site.run(*as_nobody(site.program, "--diff", str(os.getpid()), path))
    assert result.returncode == 77 and "cannot read the environment" in result.stderr


def test_diff_of_a_server_without_a_wrapper(site, processes):
    """The first reload of a server that the classic script started would not execute the wrapper."""
    path = site.wrapper('command = ["sleep", "1000"]')
    strange = subprocess.Popen(["/usr/bin/sleep", "1000"], env=site.clean)
    own = subprocess.Popen([path], env=site.clean)
    try:
        says = "was not started by"
        eventually(lambda: b"DROVER_WRAPPER=" in open(f"/proc/{own.pid}/environ", "rb").read(), "the wrapper")
        assert says in site.drover_exec("--diff", strange.pid, path).stderr
        shown = site.drover_exec("--diff", own.pid, path)
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")
        other = site.wrapper('command = ["true"]', name="bin/other")
        assert f"{says} '{other}', but by '{path}'," in site.drover_exec("--diff", own.pid, other).stderr
    finally:
        end(strange, own)


def test_diff_of_the_release(site):
    """Another release with the same environment is a change too."""
    made = site.wrapper('command = ["sleep", "1000"]').parent.parent
    first, second = (shutil.copytree(made, site.folder / name) for name in ("first", "second"))
    current = site.folder / "current"
    wrapper = current / "bin/server"
    current.symlink_to(first)
    server = subprocess.Popen([wrapper], env=site.clean)
    try:
        eventually(lambda: os.readlink(f"/proc/{server.pid}/exe").endswith("/sleep"), "the server")
        assert site.drover_exec("--diff", server.pid, wrapper).returncode == 0
        current.unlink()
        current.symlink_to(second)
        shown = site.drover_exec("--diff", server.pid, wrapper)
        assert (shown.returncode, shown.stdout) == (1, f"~ folder: {first} -> {second}\n")
        shutil.rmtree(first)
        assert f"{first} (deleted) -> {second}" in site.drover_exec("--diff", server.pid, wrapper).stdout
    finally:
        end(server)


def test_diff_of_a_process_without_variables(site):
    path = site.wrapper('command = ["true"]')
    empty = subprocess.Popen(["/usr/bin/sleep", "1000"], env={})
    try:
        assert site.drover_exec("--diff", empty.pid, path).returncode == 1
    finally:
        end(empty)
