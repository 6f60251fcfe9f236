"""Configurations of sleepers, and what a reread of them answers."""

import pytest

FAST = '[defaults]\nstartsecs = "20ms"\n'
LISTS = ("added", "removed", "restarted", "unchanged")
# Notes its starts and goes on when it is told to stop; it ends when there is a file `go`.
STUBBORN = "trap '' TERM INT; echo start >>notes; echo >&3; until [ -e go ]; do sleep 0.01; done; echo end >>notes"
SHELL = f'command = ["sh", "-c", "{STUBBORN}"]\nready = "fd:3"\n'


def sleeper(name, seconds=1000, keys=""):
    return f'[companion.{name}]\ncommand = ["sleep", "{seconds}"]\n{keys}'


def reread(manager, text, **more):
    """The four lists of a reread that succeeds; or the plan, as {name: (action, keys)}."""
    manager.write(FAST + text)
    reply = manager.ask({"cmd": "reread", **more})
    assert reply["ok"], reply
    plan = {each["name"]: (each["action"], each["keys"]) for each in reply["plan"]}
    return plan if more.get("dry_run") else {name: reply[name] for name in LISTS if reply[name]}


def names(manager):
    return [entry["name"] for entry in manager.statuses()]


@pytest.fixture
def running(manager):
    """running(TEXT): a manager whose companions all run, and their pids."""

    def make(text):
        only = manager(FAST + text)
        return only, {name: only.until(name, "RUNNING")["pid"] for name in names(only)}

    return make
