"""What the command inherits, and what not: the environment from generation to generation, folder, mask,
descriptors, signals."""

import json
import os
import random
import signal
import socket
import subprocess

import pytest

from conftest import needs
from support.environments import parse, site  # noqa: F401

PYTHON3 = '"/usr/bin/python3", "-I", "-S", "-B", "-c"'
PROTOCOL = ["UNICORN_FD", "UNICORN_WORKER", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET",
            "PUMA_INHERIT_0", "GUNICORN_FD", "GUNICORN_PID", "EINHORN_FDS", "WATCHDOG_USEC", "MAINPID",
            "CREDENTIALS_DIRECTORY", "RUNTIME_DIRECTORY", "JOURNAL_STREAM", "INVOCATION_ID",
            "SERVER_STARTER_PORT"]  # fmt: skip
IDENTITY = {"HOME", "PATH", "LANG", "USER", "LC_ALL", "TZ"}
OURS = {"DROVER_ARGS", "DROVER_WRAPPER", "DROVER_STATE", "DROVER_DEPTH", "PWD"}


def test_strict(site):
    """scenario 12: an unknown variable goes; the servers' protocol and the process's identity stay."""
    path = site.wrapper('command = ["env", "-0"]\nclean = "strict"\npass = ["MY_*", "ONE"]\n[env]\nNEW = "n"')
    protocol = dict.fromkeys(PROTOCOL, "7")
    env = {**site.clean, **protocol, "FOO": "x", "MY_A": "a", "MY_": "b", "MYX": "c", "ONE": "1",
           "ONE_MORE": "2",
           "USER": "u", "LC_ALL": "C", "TZ": "UTC", "RUBYOPT": "-w", "PS1": "$"}  # fmt: skip
    found = parse(site.run(path, env=env).stdout)
    assert found.keys() == {*protocol, *IDENTITY, *OURS, "MY_A", "MY_", "ONE", "NEW"}
    assert all(found[name] == "7" for name in protocol)


def test_strict_does_not_depend_on_its_caller(site):
    """scenario 12: the environment of generation N is that of generation 1."""
    path = site.wrapper('command = ["env", "-0"]\nclean = "strict"\n[env]\nA = "1"')
    first = parse(site.run(path).stdout)
    again = parse(site.run(path,
                           env={**first, "LEFT": "by a server", "A": "2",
                                "DROVER_STATE": "damaged %"}).stdout)
    for found in (first, again):
        found.pop("DROVER_DEPTH"), found.pop("DROVER_STATE")
    assert again == first


def generation(site, path, env):
    found = parse(site.run(path, env=env).stdout)
    return {name: value for name, value in found.items() if name != "DROVER_DEPTH"}


def test_variable_that_left_the_env_file(site):
    """scenario 13: it is gone after the next reload, and one that was changed has its old value back."""
    body = 'command = ["env", "-0"]\nenv_file = "env"\nunset = ["GONE"]\n[path]\nprepend = ["/front"]'
    path = site.wrapper(body)
    file = site.app / "env"
    file.write_text("NEW=1\nKEPT=changed\nSTAYS=1\n")
    inherited = {**site.clean, "GONE": "a b%\n=c"}
    first = generation(site, path, inherited)
    assert (first["NEW"], first["KEPT"], first.get("GONE")) == ("1", "changed", None)
    file.write_text("STAYS=2\n")
    path.write_text(path.read_text().replace('unset = ["GONE"]', "").replace("/front", "/other"))
    second = generation(site, path, first)
    assert "NEW" not in second and second["KEPT"] == "a value" and second["STAYS"] == "2"
    assert second["GONE"] == "a b%\n=c" and second["PATH"] == "/other:" + site.clean["PATH"]


def test_generations_are_equal(site):
    """scenario 13: the tenth is the second."""
    site.rbenv("3.1.2")
    (site.app / ".ruby-version").write_text("3.1.2")
    (site.app / "env").write_text("A=1\nKEPT=changed\n")
    path = site.wrapper('command = ["env", "-0"]\nruby = "auto"\nenv_file = "env"\n[env]\nPS9 = "x"')
    first = generation(site, path, site.clean)
    assert first["A"] == "1" and "versions/3.1.2/bin" in first["PATH"]
    later = first
    for _ in range(9):
        later = generation(site, path, later)
    assert later == first


@pytest.mark.parametrize("damage", ["%", "garbage", "+A B", "-NOVALUE", "\xff", "+PATH -PATH=", "x" * 70000])
def test_damaged_record(site, damage):
    """scenario 13: nothing of it is used, the command runs."""
    found = site.environment_of("--", env={**site.clean, "DROVER_STATE": damage})
    assert found == site.environment_of("--")


@pytest.mark.parametrize("old", ["x" * 120000, " " * 60000],
    ids=["long", "blanks"])  # fmt: skip
def test_long_old_value(site, old):
    """scenario 13: taking away a long variable does not hinder the start."""
    path = site.wrapper('command = ["true"]\nunset = ["OLD"]')
    result = site.run(path, env={**site.clean, "OLD": old})
    assert result.returncode == 0, result.stderr


def test_long_old_value_comes_back(site):
    """scenario 13"""
    path = site.wrapper('command = ["env", "-0"]\nunset = ["OLD"]')
    first = generation(site, path, {**site.clean, "OLD": "x" * 70000})
    site.wrapper('command = ["env", "-0"]')
    assert len(generation(site, path, first).get("OLD", "")) == 70000


def test_order_of_the_environment_does_not_matter(site):
    """scenario 14: the outcome is the same in any order, and a second pass changes nothing."""
    site.rbenv("3.1.2")
    root = f"{site.home}/.rbenv"
    env = {
        **site.clean, "RBENV_VERSION": "3.1.2", "RBENV_ROOT": root, "GEM_HOME": f"{root}/x",
        "RUBYLIB": ":/x:",
        "PATH": f"{root}/versions/3.1.2/bin:/opt/rubies/r/bin:{site.clean['PATH']}",
        "RUBY_ROOT": "/opt/rubies/r",
        "BUNDLER_ORIG_RUBYOPT": "-W0", "RUBYOPT": "-rbundler/setup", "BUNDLE_BIN_PATH": "/x",
        "VIRTUAL_ENV": "/v",
        "BUNDLER_ORIG_PATH": f"/v/bin:{root}/versions/3.1.2/bin:/usr/bin:/bin", "CONDA_PREFIX": "/v/c",
        "PS1": "x",
    }  # fmt: skip
    wanted = site.environment_of("--ruby", "3.1.2", "--", env=env)
    assert not {"RBENV_VERSION", "GEM_HOME", "VIRTUAL_ENV", "PS1", "RUBYOPT"} & wanted.keys()
    assert wanted["PATH"] == f"{root}/versions/3.1.2/bin:/usr/bin:/bin"
    order = random.Random(1)
    for _ in range(20):
        names = list(env)
        order.shuffle(names)
        assert site.environment_of("--ruby", "3.1.2", "--", env={name: env[name] for name in names}) == wanted
    assert site.environment_of("--ruby", "3.1.2", "--", env=wanted) == wanted


RAW = (  # execve(2) with an environment that no dict can hold
    "import ctypes, os, sys\n"
    "entries = sys.stdin.buffer.read().split(b'\\0')[:-1]\n"
    "words = [os.fsencode(word) for word in sys.argv[1:]]\n"
    "array = lambda items: (ctypes.c_char_p * (len(items) + 1))(*items, None)\n"
    "ctypes.CDLL(None).execve(words[0], array(words), array(entries))\n"
)


def with_raw_environment(site, entries):
    file = site.folder / "entries"
    file.write_bytes(b"".join(entry + b"\0" for entry in entries))
    with open(file) as stdin:
        return site.run("/usr/bin/python3", "-I", "-S", "-c", RAW, site.program, "--", "/usr/bin/env", "-0",
                        stdin=stdin, text=False)  # fmt: skip


@pytest.mark.parametrize("entries, wanted", [
    ([b"A=1", b"A=2"], [b"A=1"]), ([b"=x=1"], []), ([b"noequals"], []), ([b""], []), ([], []),
    ([b"A=\xff\xfe"], [b"A=\xff\xfe"]), ([b"\xff=1"], [b"\xff=1"]), ([b"A="], [b"A="]),
    ([b"A=1", b"A"], [b"A=1"]),
    ([b"A=" + b"x" * 131069], [b"A=" + b"x" * 131069]),
    ([b"A%d=" % n + b"x" * 100000 for n in range(19)], [b"A%d=" % n + b"x" * 100000 for n in range(19)]),
], ids=range(11))  # fmt: skip
def test_hostile_environment(site, entries, wanted):
    """scenario 34: no crash; of two with one name the first counts."""
    result = with_raw_environment(site, entries)
    assert result.returncode == 0, result.stderr
    found = result.stdout.split(b"\0")[:-1]
    mine = (b"PATH=", b"PWD=", b"DROVER_", b"HOME=")
    assert [entry for entry in found if not entry.startswith(mine)] == sorted(wanted, key=lambda entry: entry.split(b"=")[0])


def test_total_that_is_too_long(site):
    """scenario 34: more than the kernel takes in all is an error, not a crash."""
    lines = "[env]\n" + "".join(f"A{n} = '{'x' * 10000}'\n" for n in range(20))
    path = site.wrapper('command = ["true"]\n' + lines)
    few = subprocess.run(["/usr/bin/prlimit", "--stack=400000", "--", path], env=site.clean,
                         capture_output=True)
    assert few.returncode in (125, 126) and b"Argument list too long" in few.stderr


@pytest.mark.parametrize("home", [None, "", "relative", "/nowhere", "/root/../etc/shadow"])
def test_home_that_is_wrong(site, home):
    """scenario 41: HOME is not needed."""
    env = {**site.clean, "HOME": home} if home is not None else {"PATH": site.clean["PATH"]}
    assert site.drover_exec("--", "true", env=env).returncode == 0
    path = site.wrapper('command = ["true"]')
    assert site.run(path, env=env).returncode == 0


def test_user_without_a_home(site):
    """scenario 41: a user id that no user has, and no HOME."""
    needs("setpriv")
    nobody = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups")
    result = site.run(*nobody, site.program, "--", "true", env={"PATH": "/usr/bin:/bin"}, cwd="/")
    assert result.returncode == 0, (result.returncode, result.stderr)


@pytest.mark.parametrize("cwd, wanted",
                         [(None, "{app}"), ("keep", "{here}"), ("/usr", "/usr"), ("bin", "{app}/bin"),
                                         ("../here", "{here}")])  # fmt: skip
def test_folder(site, cwd, wanted):
    here = site.folder / "here"
    here.mkdir()
    body = 'command = ["/bin/sh", "-c", "/bin/pwd -P; echo $PWD"]' + (f'\ncwd = "{cwd}"' if cwd else "")
    result = site.run(site.wrapper(body), cwd=here, env={**site.clean, "PWD": "/wrong", "OLDPWD": "/old"})
    assert result.stdout.split() == [wanted.format(app=site.app, here=here)] * 2, result.stderr


def test_folder_is_named_by_its_link(site):
    """PWD has `current`, not what it leads to: servers derive their release from it."""
    release, current = site.folder / "releases/1", site.folder / "current"
    release.mkdir(parents=True)
    current.symlink_to(release)
    site.wrapper('command = ["env", "-0"]', app=release)
    found = parse(site.run(current / "bin/server", env={**site.clean, "OLDPWD": "/x"}).stdout)
    assert found["PWD"] == str(current) and found["DROVER_WRAPPER"] == f"{current}/bin/server"
    assert "OLDPWD" not in found
    path = site.wrapper(f'command = ["env", "-0"]\ncurrent = "{current}"')
    assert parse(site.run(path).stdout)["PWD"] == str(current)


def test_folder_that_is_gone(site):
    assert "nowhere" in site.refused(site.wrapper('command = ["true"]\ncwd = "nowhere"'))


SWITCH = "ln -sfn {0}/releases/2 {0}/next; mv -T {0}/next {0}/current\n"


def test_release_that_changes_meanwhile(site):
    """scenario 23: a deployment between two steps of the wrapper: one consistent release."""
    site.rbenv("3.1.2", "3.1.10")
    for number, version in (("1", "3.1.2"), ("2", "3.1.10")):
        app = site.folder / "releases" / number
        body = 'ruby = "auto"\nsource = "switch"\ncommand = ["/bin/sh", "-c", "echo $PATH; pwd -P"]'
        site.wrapper(body, app=app)
        (app / ".ruby-version").write_text(version)
        (app / "switch").write_text(SWITCH.format(site.folder))
    (site.folder / "current").symlink_to(site.folder / "releases/1")
    result = site.run(site.folder / "current/bin/server")
    path, folder = result.stdout.split()
    versions = {"1": "3.1.2", "2": "3.1.10"}
    assert versions[os.path.basename(folder)] == path.split("/versions/")[1].split("/")[0], result.stderr


def test_release_that_goes_meanwhile(site):
    """The old one is deleted before all of it was read: the new one counts, without an error."""
    site.rbenv("3.1.2")
    for number in ("1", "2"):
        app = site.folder / "releases" / number
        site.wrapper('ruby = "auto"\nsource = "switch"\ncommand = ["/bin/pwd", "-P"]', app=app)
        (app / "switch").write_text(SWITCH.format(site.folder) + f"rm -rf {site.folder}/releases/1\n")
        (app / ".ruby-version").write_text("3.1.2")
        (app / "Gemfile").write_text("")
    (site.folder / "current").symlink_to(site.folder / "releases/1")
    result = site.run(site.folder / "current/bin/server", cwd=site.folder)
    assert result.stdout == f"{site.folder}/releases/2\n", result.stderr


def test_release_that_never_stays(site):
    site.wrapper('source = "switch"\ncommand = ["true"]', app=site.app)
    switch = f"mv {site.app} {site.app}.old && cp -r {site.app}.old {site.app} && rm -r {site.app}.old\n"
    (site.app / "switch").write_text(switch)
    result = site.run(site.app / "bin/server", cwd=site.folder)
    assert result.returncode == 125 and "again and again" in result.stderr, result.stderr


def test_current_folder_that_was_deleted(site):
    """Somebody's shell, or a supervisor, still stands in the release that was removed."""
    gone = site.folder / "gone"
    script = f'mkdir {gone} && cd {gone} && rmdir {gone} && exec "$@"'
    found = site.run("/bin/sh", "-c", script, "sh", site.wrapper('command = ["pwd"]'))
    assert found.stdout == f"{site.app}\n", found.stderr
    for words in (["bin/server"], ["--", "true"], ["--app", site.app, "--", "bin/sh", "-c", "true"]):
        lost = site.run("/bin/sh", "-c", script, "sh", site.program, *words)
        assert lost.returncode in (125, 127) and "No such file" in lost.stderr or "not exist" in lost.stderr


def test_warning_that_nobody_reads(site):
    """A warning on a pipe without a reader is lost; it does not end the start."""
    path = site.wrapper('command = ["touch", "ran"]')
    os.chown(path.parent, -1, 54321)
    path.parent.chmod(0o775)
    reader, writer = os.pipe()
    os.close(reader)
    child = subprocess.Popen([path], env=site.clean, cwd=site.app, stderr=writer, restore_signals=True)
    os.close(writer)
    assert child.wait(60) == 0 and (site.app / "ran").exists()


@pytest.mark.parametrize("mask", ["0027", "027", "0", "777"])
def test_umask(site, mask):
    path = site.wrapper(f'command = ["/bin/sh", "-c", "umask"]\numask = "{mask}"')
    assert int(site.run(path).stdout, 8) == int(mask, 8)
    assert site.run(site.wrapper('command = ["/bin/sh", "-c", "umask"]'), umask=0o31).stdout == "0031\n"


STREAMS = (
    "import os, sys, json\n"
    "fds = [fd for fd in map(int, os.listdir('/proc/self/fd')) if os.path.lexists(f'/proc/self/fd/{fd}')]\n"
    "status = dict(line.split(':\\t') for line in open('/proc/self/status') if line.startswith('Sig'))\n"
    "found = [sorted(fds), os.getpid(), status['SigBlk'], status['SigIgn']]\n"
    "open(sys.argv[1], 'w').write(json.dumps(found))\n"
)


def test_closed_streams_and_an_inherited_socket(site):
    """scenario 40: descriptors, blocked and ignored signals are as they were; so is the process id."""
    path = site.wrapper(f"command = [{PYTHON3}, {json.dumps(STREAMS)}]")
    outputs = [site.folder / "with", site.folder / "without"]
    commands = [[path, outputs[0]], ["/usr/bin/python3", "-I", "-S", "-B", "-c", STREAMS, outputs[1]]]

    def prepare():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for fd in (0, 1, 2):
            os.close(fd)

    with socket.create_server(("127.0.0.1", 0)) as server:
        pids = []
        for command in commands:
            child = subprocess.Popen([str(word) for word in command], env=site.clean, preexec_fn=prepare,
                                     pass_fds=[server.fileno()])  # fmt: skip
            assert child.wait(timeout=60) == 0
            pids.append(child.pid)
        ours, plain = (json.loads(output.read_text()) for output in outputs)
        assert ours[1] == pids[0] and server.fileno() in ours[0]
        assert [ours[0], *ours[2:]] == [plain[0], *plain[2:]]


def test_nothing_is_forked(site, folder):
    """scenario 46: on the way to the command there is one process, and one exec."""
    needs("strace")
    site.rbenv("3.1.2")
    (site.app / ".ruby-version").write_text("3.1.2")
    (site.app / "env").write_text("A=1\n")
    path = site.wrapper('command = ["true"]\nruby = "auto"\nenv_file = "env"\nlock = "lock"')
    calls = folder / "calls"
    traced = site.run("strace", "-f", "-e", "trace=fork,vfork,clone,clone3,execve", "-o", calls, path)
    assert traced.returncode == 0, traced.stderr
    lines = calls.read_text().splitlines()
    assert sum("execve(" in line for line in lines) == 2, lines
    assert not [line for line in lines if "fork(" in line or "clone" in line]
