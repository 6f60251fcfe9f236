"""Environments that exist only as a shell script: `source` in a wrapper, and --import."""

import json
import os
import signal
import subprocess
import tomllib

import pytest

from support.environments import parse, site  # noqa: F401
from support.processes import LIMIT, alive, eventually

SHOW = 'command = ["/usr/bin/env", "-0"]\nsource = "script"\n'
OURS = {"DROVER_ARGS", "DROVER_WRAPPER", "DROVER_STATE", "DROVER_DEPTH", "PWD"}


def script(site, text, name="script"):
    path = site.app / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def changes(site, text, env=None):
    """What the script changes in the environment of the command; None for what it removes."""
    script(site, text)
    result = site.run(site.wrapper(SHOW), env=env)
    assert result.returncode == 0, result.stderr
    env, found = env or site.clean, parse(result.stdout)
    names = (env.keys() | found.keys()) - OURS
    return {name: found.get(name) for name in names if found.get(name) != env.get(name)}


def imported(site, text, env=None):
    """The same by --import, from the TOML that it prints."""
    result = site.drover_exec("--import", script(site, text), env=env)
    assert result.returncode == 0, result.stderr
    table = tomllib.loads(result.stdout)
    return {**table.pop("env"), **dict.fromkeys(table.pop("unset", []))} | table


TAKEN = {
    "export": ("export A=1", {"A": "1"}),
    "set -a": ("set -a; A=1; B=2; set +a; C=3", {"A": "1", "B": "2"}),
    "newline": ("export A=$'a\\nb\\n' B='c=d=' C=''", {"A": "a\nb\n", "B": "c=d=", "C": ""}),
    "quotes": ("export A=\"a'b\\\"c\\\\d\\$e\"", {"A": "a'b\"c\\d$e"}),
    "control": ("export A=$'\\t\\e\\a\\x01'", {"A": "\t\x1b\a\x01"}),
    "UTF-8": ("export A=é", {"A": "é"}),
    "unset": ("unset KEPT", {"KEPT": None}),
    "change": ("export KEPT=$KEPT:more", {"KEPT": "a value:more"}),
    "no export": ("A=1", {}),
    "nothing": ("", {}),
    "prints": ("echo A=1; env -0; printf 'B=2\\0'; exec 3>&1; echo x >&3; export C=1", {"C": "1"}),
    "breaks PATH": ("export PATH=/nowhere A=1; unset -f env", {"PATH": "/nowhere", "A": "1"}),
    "reads": ("read -r line || export A=end", {"A": "end"}),
    "EXIT trap": ("trap 'echo A=2; env -0' EXIT; export A=1", {"A": "1"}),
    "functions": ("f() { :; }; export -f f; env() { :; }; printf() { :; }; umask() { :; }; export A=1",
                  {"A": "1"}),
    "shell's own": ("export PS1=x PS4=y PROMPT_COMMAND=z BASH_ENV=w SHLVL=9 OLDPWD=/; A=1; export A",
                    {"A": "1"}),
    "set -eu": ("set -eu; set -o noglob; set -o pipefail; export A=1", {"A": "1"}),
    "set -C": ("set -C; IFS=x; set -f; set -o posix; export A=1", {"A": "1"}),
    "positional": ("set -- x y; export A=$1", {"A": "x"}),
    "return 0": ("export A=1; return 0; export A=2", {"A": "1"}),
    "alias": ("shopt -s expand_aliases; alias look=false builtin=false; export A=1", {"A": "1"}),
    "reads itself": ("export A=$(wc -c < \"${BASH_SOURCE[0]}\")", {"A": "39"}),
    "no newline": ("export A=1\nexport B=2", {"A": "1", "B": "2"}),
    "big": ("export A=$(head -c 100000 /dev/zero | tr '\\0' x)", {"A": "x" * 100000}),
}  # fmt: skip


@pytest.mark.parametrize("text, wanted", TAKEN.values(), ids=TAKEN.keys())
def test_taken_over(site, text, wanted):
    """scenario 42"""
    assert changes(site, text) == wanted
    if "PATH" in wanted:  # new folders of it
        wanted = {**wanted, "path": {"prepend": [wanted["PATH"]]}}
        del wanted["PATH"]
    assert imported(site, text) == wanted


FAILS = {
    "exit 0": "export A=1; exit 0", "exit 3": "exit 3", "last is false": "export A=1; false",
    "return 1": "return 1", "set -u": 'set -u; x="$NOT_THERE"',
    "syntax": "export A=1\nif true; then\n", "binary": b"\x7fELF\0\x01\x02\xff\n\0", "kill": "kill -9 $$",
    "forged": "printf 'A=1\\0=0:after:0022:/\\0' >&9; exit 0",
    "too much": "head -c 9000000 /dev/zero >&9; exit 0",
    "missing command": "export A=1\nno-such-command-here",
}  # fmt: skip
REPLACED = ["export A=1; exec true", "exec /usr/bin/env -0 >&9", "printf '=:after:\\0' >&9; exec 9>/dev/null",
            "export A=1; exec 9>&-"]  # fmt: skip


@pytest.mark.parametrize("text", REPLACED)
def test_script_that_replaces_the_shell(site, text):
    """scenario 42: half an environment for `source`; for --import the place where the classic script is done."""
    path = script(site, text)
    assert site.run(site.wrapper('source = "script"\ncommand = ["touch", "ran"]')).returncode == 125
    assert site.drover_exec("--import", path).returncode == 0
    assert not (site.app / "ran").exists()


CLASSIC = """#!/bin/bash -l
eval "$(rbenv init -)"
export PATH="/opt/tool/bin:$HOME/.rbenv/shims:$HOME/.rbenv/versions/3.1.2/bin:$PATH"
export RBENV_SHELL=bash RBENV_VERSION=3.1.2
export BUNDLE_GEMFILE=/srv/app/current/Gemfile
export RAILS_ENV=production API_TOKEN=hunter2
(exec true)
exec >>server.log
cd "$HOME"
exec bundle exec unicorn -c "the config.rb"
"""


def test_import_of_a_classic_script(site):
    """Whole, with its last line: the server is not started, and what a wrapper chooses is left to it."""
    shown = site.drover_exec("--import", script(site, CLASSIC))
    assert shown.returncode == 0, shown.stderr
    assert tomllib.loads(shown.stdout) == {
        "path": {"prepend": ["/opt/tool/bin"]}, "env": {"RAILS_ENV": "production", "API_TOKEN": "hunter2"},
    }  # fmt: skip
    assert '# command = ["bundle", "exec", "unicorn", "-c", "the config.rb"]' in shown.stdout
    assert '# Left out, ruby = "auto" (python, node) chooses it: BUNDLE_GEMFILE RBENV_SHELL RBENV_VERSION\n' in shown.stdout
    assert "'API_TOKEN' looks like a secret" in shown.stderr and "hunter2" not in shown.stderr
    assert "change of folder" in shown.stderr


def test_names_like_the_shells_own(site):
    text = "export DEL=$'a\\x7fb' PSK=key BASHFUL=1 PS1=prompt BASH_ENV=x"
    assert changes(site, text) == {"DEL": "a\x7fb", "PSK": "key", "BASHFUL": "1"}
    assert imported(site, text) == changes(site, text)


def test_folder_by_its_link(site):
    """The script sees the folder as the command will: a release that is pinned here is pinned for good."""
    link = site.folder / "current"
    link.symlink_to(site.app)
    site.wrapper(SHOW)
    script(site, "export ROOT=$PWD")
    assert parse(site.run(link / "bin/server").stdout)["ROOT"] == str(link)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("mode", ["source", "--import"])
def test_ended_while_the_script_runs(site, processes, mode, number):
    """The script ends with drover-exec; killed, at least its shell does."""
    path = script(site, f"echo $$ > {site.folder}/pid; read line < pipe")
    os.mkfifo(site.app / "pipe")
    words = [site.wrapper(SHOW)] if mode == "source" else [site.program, "--import", path]
    child = subprocess.Popen([str(word) for word in words], env=site.clean, cwd=site.app,
                             preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (2, 15)])  # fmt: skip
    written = site.folder / "pid"
    eventually(lambda: written.exists() and written.read_text().strip(), "the script", LIMIT)
    child.send_signal(number)
    assert child.wait(LIMIT) == -number
    pid = int(written.read_text())
    eventually(lambda: not alive(pid), "its shell to end", LIMIT)


@pytest.mark.parametrize("text", FAILS.values(), ids=FAILS.keys())
def test_half_an_environment_is_none(site, text):
    """scenario 42: it must come to its end, and with success."""
    path = script(site, text)
    for words in ([site.wrapper('source = "script"\ncommand = ["touch", "ran"]')], ["--import", path]):
        result = site.drover_exec(*words)
        assert result.returncode == (65 if words[0] == "--import" else 125), (result.returncode,
                                                                              result.stderr)
        last = result.stderr.splitlines()[-1]
        assert last.startswith("drover-exec: ") and str(path) in last and result.stdout == ""
    assert not (site.app / "ran").exists()


def test_its_output_is_no_result(site):
    """scenario 42: what it prints goes to standard error."""
    result = site.drover_exec("--import", script(site, "echo noise; export A=1"))
    assert result.stdout == '[env]\n"A" = "1"\n' and result.stderr == "noise\n"


def test_errexit_of_the_script(site):
    """scenario 42: it ends at the first command that fails."""
    script(site, "set -e; export A=1; false; export B=2")
    site.refused(site.wrapper(SHOW))


EVIL = 'touch "{ran}"'


def test_code_in_the_inherited_environment(site):
    """scenario 42: BASH_ENV and functions of the caller are not executed."""
    ran = site.folder / "ran"
    evil = script(site, EVIL.format(ran=ran), "evil")
    env = {**site.clean, "BASH_ENV": str(evil), "ENV": str(evil), "SHELLOPTS": "xtrace",
           "BASHOPTS": "extglob",
           "PS4": f"$(touch {ran})", "PROMPT_COMMAND": f"touch {ran}"}  # fmt: skip
    for name in ("look", "env", "umask", "export", "exit", "/usr/bin/env", ".", "printf", "builtin", "echo"):
        env[f"BASH_FUNC_{name}%%"] = "() { " + EVIL.format(ran=ran) + "; }"
    script(site, "export A=1; umask >/dev/null; echo x >/dev/null")
    result = site.run(site.wrapper(SHOW), env=env)
    assert result.returncode == 0 and parse(result.stdout)["A"] == "1", result.stderr
    assert site.drover_exec("--import", site.app / "script", env=env).stdout == '[env]\n"A" = "1"\n'
    assert not ran.exists()


LOOK = (
    "env >{0}/seen\n"
    "for fd in /proc/self/fd/*; do echo $(basename $fd) $(readlink $fd); done >{0}/fds\n"
    "export A=1\n"
)


def test_protocol_of_the_servers_is_hidden(site):
    """scenario 42: the script, and a daemon that it leaves, has neither variables nor descriptors of it; the
    command has both."""
    script(site, LOOK.format(site.folder))
    protocol = dict.fromkeys(["UNICORN_FD", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "DROVER_LOCK_FD"],
                             "7")
    with open(site.folder / "listener", "w") as listener:
        command = "printf '%s ' $UNICORN_FD $NOTIFY_SOCKET; readlink /proc/self/fd/*"
        path = site.wrapper(f'source = "script"\ncommand = ["/bin/sh", "-c", {json.dumps(command)}]')
        result = site.run(path, env={**site.clean, **protocol}, pass_fds=[listener.fileno()])
    assert result.stdout.startswith("7 7 ") and f"{site.folder}/listener\n" in result.stdout
    seen = (site.folder / "seen").read_text()
    assert not [name for name in protocol if name in seen]
    fds = (site.folder / "fds").read_text()
    assert "listener" not in fds and "0 /dev/null\n" in fds


DAEMON = "sleep 1000 >/dev/null 2>&1 & echo $! > {}/pid; export A=1"


def test_daemon_that_it_leaves(site):
    """scenario 42: it is not waited for, although it holds the pipe."""
    script(site, DAEMON.format(site.folder))
    result = site.run(site.wrapper(SHOW))
    pid = int((site.folder / "pid").read_text())
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid), "the daemon to end")
    assert parse(result.stdout)["A"] == "1"


def test_time_limit(site):
    """scenario 42: after ten seconds it is killed, with what it has started."""
    script(site, f"sleep 1000 & echo $! > {site.folder}/pid; wait")
    said = site.refused(site.wrapper(SHOW))
    assert "too long" in said
    pid = int((site.folder / "pid").read_text())
    eventually(lambda: not alive(pid), "its child to end", LIMIT)


def warnings(site, text):
    script(site, text)
    found = site.steps("warning", site.wrapper(SHOW))
    return [("umask" in said, "folder" in said) for _, said, _ in found]


@pytest.mark.parametrize("text, wanted", [
    ("umask 077", [(True, False)]), ("cd /", [(False, True)]), ("cd /; cd - >/dev/null", []),
    ("ulimit -n 64", []),
    ("umask 077; cd /", [(True, False), (False, True)]),
])  # fmt: skip
def test_what_cannot_be_taken_over_is_said(site, text, wanted):
    """scenario 42: the mask and the folder of the shell are not the command's."""
    assert warnings(site, text) == wanted


@pytest.mark.parametrize("text", [
    "look() { :; }; export A=1",
    "printf() { :; }; builtin() { :; }; export A=1",
])  # fmt: skip
def test_functions_named_as_ours(site, text):
    """scenario 42: a script may have a function `look`."""
    assert changes(site, text) == {"A": "1"}


def test_scripts_in_order(site):
    script(site, "export A=1 B=1", "one")
    script(site, 'export B="$A$B$B" C=2', "two")
    found = parse(site.run(site.wrapper('command = ["/usr/bin/env", "-0"]\nsource = ["one", "two"]')).stdout)
    assert [found[name] for name in "ABC"] == ["1", "111", "2"]


def test_script_gets_the_clean_environment(site):
    """It is sourced behind the interpreters' choice, and sees what the command will."""
    site.rbenv("3.1.2")
    script(site, "export FRONT=${PATH%%:*} OLD=$RUBYOPT")
    path = site.wrapper(SHOW + 'ruby = "3.1.2"')
    found = parse(site.run(path, env={**site.clean, "RUBYOPT": "-rbundler/setup"}).stdout)
    assert found["FRONT"] == f"{site.home}/.rbenv/versions/3.1.2/bin" and found["OLD"] == ""


@pytest.mark.parametrize("name", ["gone", "folder/gone"])
def test_script_that_is_missing(site, name):
    site.refused(site.wrapper(f'command = ["true"]\nsource = "{name}"'))
    assert site.drover_exec("--import", name).returncode in (65, 66)


def test_script_that_is_no_file(site):
    """At once, not when the time for a script is over."""
    os.mkfifo(site.app / "pipe")
    for path in ("pipe", "."):
        assert "it is no regular file" in site.refused(site.wrapper(f'command = ["true"]\nsource = "{path}"'), code=125)
        assert "it is no regular file" in site.refused("--import", path, code=66)


@pytest.mark.parametrize("value", ["\\x7f", "\\\\u0041", "'''", "\\r\\n", "#", "\\xc2\\x85", "\\x1f"])
def test_import_is_a_wrapper(site, value):
    """What --import prints is a body that gives the same environment."""
    text = f"unset KEPT; export A=$'{value}'" if "'" not in value else f'unset KEPT; export A="{value}"'
    shown = site.drover_exec("--import", script(site, text))
    path = site.wrapper('command = ["/usr/bin/env", "-0"]\n' + shown.stdout)
    taken = changes(site, text)
    result = site.run(path)
    assert result.returncode == 0, result.stderr
    found = parse(result.stdout)
    assert found["A"] == taken["A"] and "KEPT" not in found
