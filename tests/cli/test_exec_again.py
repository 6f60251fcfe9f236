"""drover-exec that is executed again: by itself, by another wrapper, by a server's hot reload; and the lock
that lives through it."""

import fcntl
import json
import os
import time

import pytest

from conftest import needs
from support.environments import install, parse, site  # noqa: F401
from support.flocks import end, holds, lock_fds
from support.processes import eventually

PYTHON3 = '"/usr/bin/python3", "-I", "-S", "-B", "-c"'
RELOADS = (  # a server that executes its wrapper again in the same process, as puma does
    "import os, sys\n"
    "left = int(sys.argv[1])\n"
    "wrapper = os.environ['DROVER_WRAPPER']\n"
    "if left: os.execv(wrapper, [wrapper, str(left - 1)])\n"
    "print('served')\n"
)


ONCE_MORE = '["/bin/sh", "-c", "command -v ruby; [ $N ] || N=1 exec $DROVER_WRAPPER"]'


def twice(site, body, env=None):
    """What both generations print."""
    result = site.run(site.wrapper(f"command = {ONCE_MORE}\n{body}"), env=env)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    return first, second


def test_home_that_the_wrapper_sets(site):
    """Managers are looked for in the same place in each generation."""
    other = site.folder / "other"
    for home in (site.home, other):
        install(home / ".rbenv/versions/3.1.2")
    program = f"{other}/.rbenv/versions/3.1.2/bin/ruby"
    assert twice(site, f'ruby = "3.1.2"\n[env]\nHOME = "{other}"') == (program, program)


def test_manager_that_direnv_names(site):
    """What a tool for folders exported for a shell counts in no generation."""
    needs("direnv")
    for root in (site.folder / "elsewhere", site.home / ".rbenv"):
        install(root / "versions/3.1.2")
    (site.app / ".envrc").write_text(f"export RBENV_ROOT={site.folder}/elsewhere\n")
    assert site.run("direnv", "allow", ".").returncode == 0
    path = site.wrapper(f'command = {ONCE_MORE}\nruby = "3.1.2"')
    result = site.run("direnv", "exec", ".", path)
    assert result.stdout.splitlines() == [f"{site.home}/.rbenv/versions/3.1.2/bin/ruby"] * 2, result.stderr


@pytest.mark.parametrize("start", [["env", "X=1"], [], ["env", "X=1", "env"]])
def test_arguments_of_the_wrapper_are_not_repeated(site, start):
    """A server hands back its own arguments, not those of the programs that started it."""
    (site.app / "say").write_text('#!/bin/sh\necho "$@"\n[ $N ] || N=1 exec $DROVER_WRAPPER "$@"\n')
    (site.app / "say").chmod(0o755)
    path = named(site, "server", [*start, f"{site.app}/say", "-c", "u.rb"])
    assert site.run(path, "-D").stdout.splitlines() == ["-c u.rb -D"] * 2


def test_link_that_is_named_relatively(site):
    """`current` means the same when the wrapper is called by the link that it names."""
    path = site.wrapper('current = "../../current"\ncommand = ["/bin/sh", "-c", "pwd; [ $N ] || N=1 exec $DROVER_WRAPPER"]',
                        app=site.folder / "releases/1")  # fmt: skip
    (site.folder / "current").symlink_to(path.parent.parent)
    result = site.run(path, cwd=site.folder)
    assert result.stdout.splitlines() == [f"{site.folder}/current"] * 2, result.stderr


def test_wrapper_outside_of_the_release(site):
    """`current` is where the application is; the wrapper keeps the path by which it can be executed again."""
    (site.folder / "current").symlink_to(site.app)
    body = f'current = "{site.folder}/current"\ncommand = ["/bin/sh", "-c", "pwd; echo $DROVER_WRAPPER"]'
    path = site.wrapper(body, app=site.folder / "outside")
    assert site.run(path, cwd=site.folder).stdout.splitlines() == [f"{site.folder}/current", str(path)]


def named(site, name, command):
    return site.wrapper(f"command = {json.dumps(command)}", name=f"bin/{name}")


def first_in_path(site, **more):
    return {**site.clean, "PATH": f"{site.app}/bin:{site.clean['PATH']}", **more}


def test_wrapper_named_as_its_command(site):
    """scenario 28: first in PATH, it does not find itself."""
    named(site, "env", ["env", "-0"])
    found = parse(site.run("/usr/bin/env", "env", env=first_in_path(site)).stdout)
    assert found["DROVER_WRAPPER"] == f"{site.app}/bin/env"


@pytest.mark.parametrize("how", ["symlink_to", "hardlink_to"])
def test_other_names_of_the_wrapper(site, how):
    """scenario 28: nor by another name of the same file."""
    path = named(site, "mine", ["env", "-0"])
    getattr(site.app / "bin/env", how)(path)
    result = site.run(path, env=first_in_path(site))
    assert "DROVER_WRAPPER" in parse(result.stdout), result.stderr


def test_command_that_is_the_program_itself(site):
    """scenario 28"""
    path = named(site, "mine", [site.program, "--version"])
    assert site.run(path).returncode in (126, 127)


def test_two_wrappers_that_find_each_other(site):
    """scenario 28: stopped by the depth, and said by whom."""
    one, _ = named(site, "one", ["two"]), named(site, "two", ["one"])
    said = site.refused(one, env=first_in_path(site))
    assert "started itself again and again" in said and f"{site.app}/bin/" in said


def test_copies_that_find_each_other(site):
    """scenario 28: two releases' wrappers of one name, both in PATH, and no command behind them."""
    paths = [site.wrapper('command = ["server"]', app=site.folder / name) for name in ("1", "2")]
    env = {**site.clean, "PATH": ":".join(str(path.parent) for path in paths)}
    site.refused(paths[0], env=env)


def test_few_wrappers_in_each_other_are_fine(site):
    """scenario 28: seven of them."""
    for number in range(7):
        named(site, f"w{number}", [f"w{number + 1}"] if number < 6 else ["env", "-0"])
    result = site.run(site.app / "bin/w0", env=first_in_path(site))
    assert parse(result.stdout)["DROVER_WRAPPER"] == f"{site.app}/bin/w6", result.stderr


@pytest.mark.parametrize("depth", ["1:7", "", "x", ":", "999999999999:8", "{pid}:", "{pid}:x", "{pid}:-5"])
def test_depth_of_another_process(site, depth):
    """scenario 28: only this process's own count is one."""
    path = named(site, "mine", ["true"])
    command = f'DROVER_DEPTH={depth.format(pid="$$")} exec "$@"'
    assert site.run("/bin/sh", "-c", command, "sh", path).returncode == 0


@pytest.mark.parametrize("before, refused", [(0, True), (2000, False), (-1000, False), (1 << 63, False)])
def test_executions_count_within_a_second(site, before, refused):
    """scenario 28: 64 of them, each soon after the one before; a moment that is still to come is none."""
    path = named(site, "mine", ["true"])
    moment = 0 if before == 1 << 63 else time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000 - before
    if before == 1 << 63:
        moment = -before
    command = f'DROVER_DEPTH=$$:64:{moment} exec "$@"'
    result = site.run("/bin/sh", "-c", command, "sh", path)
    assert (result.returncode == 125) == refused, result.stderr


@pytest.mark.parametrize("reloads", [7, 50])
def test_hot_reloads_in_one_process(site, reloads):
    """scenario 28: a server that executes its wrapper anew is no recursion."""
    path = site.wrapper(f"command = [{PYTHON3}, {json.dumps(RELOADS)}]")
    result = site.run(path, str(reloads))
    assert (result.returncode, result.stdout) == (0, "served\n"), result.stderr


@pytest.fixture
def locked(site, start):
    """A wrapper that takes a lock, and its command, which runs."""
    path = site.wrapper('command = ["sleep"]\nlock = "../shared/app.lock"')
    (site.folder / "shared").mkdir()
    lock = site.folder / "shared/app.lock"

    def begin(*command, **options):
        process = start(*(command or (path,)), "1000", cwd=site.app, **options)
        eventually(lambda: holds(process.pid, lock) or process.poll() is not None, "the holder")
        assert process.poll() is None, process.stderr.read()
        return process

    return path, lock, begin


def test_lock(site, run, locked):
    """The command is the holder, by a descriptor that it inherited, and drover-ls sees it."""
    path, lock, begin = locked
    process = begin()
    [fd] = lock_fds(process.pid, lock)
    env = eventually(lambda: environment(process.pid, "DROVER_LOCK_FD"), "the command's environment")
    assert env["DROVER_LOCK"] == str(lock) and env["DROVER_LOCK_FD"] == str(fd) and fd > 2
    assert run("drover-ls", "--pids", lock).stdout == f"{process.pid}\n"
    assert run("drover-wait", "--timeout", "50ms", lock).returncode == 1
    end(process)
    assert run("drover-ls", "--pids", lock).returncode == 1


def environment(pid, name):
    with open(f"/proc/{pid}/environ") as file:
        found = parse(file.read())
    return found if name in found else None


def test_lock_is_taken_anew_or_kept(site, locked):
    """A reload by the wrapper holds the lock from the start: with the old master's descriptor or without."""
    path, lock, begin = locked
    old = begin()
    env = eventually(lambda: environment(old.pid, "DROVER_LOCK_FD"), "the environment")
    new = begin(env=env)
    assert holds(old.pid, lock) and holds(new.pid, lock)
    with open(lock) as inherited:
        fcntl.flock(inherited, fcntl.LOCK_SH)
        kept = begin(env={**env, "DROVER_LOCK_FD": str(inherited.fileno())}, pass_fds=[inherited.fileno()])
        # The same lock, and a copy of it higher up.
        eventually(lambda: len(lock_fds(kept.pid, lock)) == 2, "the copy")
        assert inherited.fileno() in lock_fds(kept.pid, lock)
    end(old, new, kept)


@pytest.mark.parametrize("lock", ["gone/app.lock", "/dev/null/x", "bin"])
def test_lock_that_cannot_be_taken(site, lock):
    path = site.wrapper(f'command = ["touch", "ran"]\nlock = "{lock}"')
    assert lock.split("/")[-1] in site.refused(path)
    assert not (site.app / "ran").exists()


def test_explaining_takes_no_lock(site):
    path = site.wrapper('command = ["true"]\nlock = "app.lock"')
    shown = site.drover_exec("--explain", path)
    assert f"holding {site.app}/app.lock\n" in shown.stdout
    assert not os.path.exists(site.app / "app.lock")
