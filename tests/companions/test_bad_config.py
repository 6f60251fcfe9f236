"""A configuration that cannot be used is refused as a whole; what runs goes on."""

import signal

import pytest

from companions.rereads import running, sleeper  # noqa: F401

BAD = {
    "syntax": ("[companion.job]\ncommand = [", 3, ""),
    "table": ("[companions.job]\ncommand = ['x']", 2, "companions"),
    "key": ("[companion.job]\ncomand = ['x']", 3, "comand"),
    "twice": ("[companion.job]\ncommand = ['x']\ncommand = ['y']", 4, "command"),
    "no command": ("[companion.job]\nautostart = true", 2, "command"),
    "type": ("[companion.job]\ncommand = ['x']\nautostart = 'yes'", 4, "autostart"),
    "range": ("[companion.job]\ncommand = ['x']\n\nnumprocs = 0", 5, "numprocs"),
    "choice": ("[companion.job]\ncommand = ['x']\nrestart = 'sometimes'", 4, "restart"),
    "time": ("[companion.job]\ncommand = ['x']\nstop_timeout = '5 parsecs'", 4, "stop_timeout"),
    "signal": ("[companion.job]\nstop_signal = 'SIGTREM'\ncommand = ['x']", 3, "stop_signal"),
    "schedule": ("[companion.job]\ncommand = ['x']\ncron = '61 * * * *'", 4, "cron"),
    "user": ("[companion.job]\ncommand = ['x']\nuser = 'nobody-at-all'", 4, "user"),
    "need": ("[companion.job]\ncommand = ['x']\nneeds = ['absent']", 4, "needs"),
    "circle": ("[companion.a]\ncommand = ['x']\nneeds = 'b'\n[companion.b]\ncommand = ['x']\nneeds = 'a'", 4, "needs"),
    "limit": ("[companion.job]\ncommand = ['x']\nlimits = { nofiles = 5 }", 4, "nofiles"),
    "default": ("[defaults]\nstartsec = 5", 3, "startsec"),
    "name": ("[companion.'a b']\ncommand = ['x']", 2, "a b"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_configuration(running, kind):
    """companions 49: nothing happens, but that file, line and key are named."""
    text, line, key = BAD[kind]
    only, pids = running(sleeper("job") + sleeper("gone"))
    only.write(text + "\n")
    reply = only.ask({"cmd": "reread"})
    assert (reply["ok"], reply["kept_old_config"], reply["code"]) == (False, True, "bad-config")
    only.send(signal.SIGHUP)
    only.await_words(f"cannot use companions '{only.config}:{line}': ")
    for name, pid in pids.items():
        only.until(name, "RUNNING", pid=pid, exit_count=0)
    assert reply["error"].startswith(f"invalid config: cannot use companions '{only.config}:{line}': ")
    assert key in reply["error"].partition("': ")[2]


@pytest.mark.parametrize("kind", ["missing", "writable", "folder", "long"])
def test_bad_file(running, kind):
    """companions 49: the same for a file that cannot or must not be read."""
    only, pids = running(sleeper("job"))
    if kind == "writable":
        only.config.chmod(0o666)
    elif kind == "long":
        only.config.write_text("#" * (1 << 20) + "\n")
    else:
        only.config.unlink()
    if kind == "folder":
        only.config.mkdir()
    for request in ({"cmd": "reread"}, {"cmd": "reread", "dry_run": True}):
        reply = only.ask(request)
        assert (reply["ok"], reply["kept_old_config"]) == (False, True)
        assert str(only.config) in reply["error"]
    only.until("job", "RUNNING", pid=pids["job"])


def test_folder_of_the_locks_that_cannot_be_made(running):
    """companions 49: found out before anything is changed."""
    only, pids = running(sleeper("job"))
    only.config.write_text('run_dir = "no/such/folder"\n' + sleeper("other"))
    reply = only.ask({"cmd": "reread"})
    assert (reply["ok"], reply["kept_old_config"], reply["code"]) == (False, True, "bad-config")
    assert "no/such/folder" in reply["error"]
    only.until("job", "RUNNING", pid=pids["job"])


def test_wrong_defaults_of_nobody(running):
    """companions 49: they are wrong also where there is no companion that they would reach."""
    only, pids = running(sleeper("job"))
    only.write("[defaults]\nstart_secs = 5\n")
    assert only.ask({"cmd": "reread"}).get("code") == "bad-config"
    only.until("job", "RUNNING", pid=pids["job"])
