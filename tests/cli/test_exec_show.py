"""drover-exec for people: --explain, --json, --check, masked secrets, --print-hook."""

import json
import os
import subprocess

import pytest

from support.environments import site  # noqa: F401

SECRET = "hunter2-hunter2"
KINDS = {"set", "unset", "part_added", "part_removed", "chosen", "warning"}


@pytest.fixture
def wrapper(site):
    """A wrapper that changes a little of everything."""
    site.rbenv("3.1.2")
    (site.app / ".ruby-version").write_text("3.1.2\n")
    (site.app / "env").write_text(f"DB_PASSWORD={SECRET}\nPLAIN=1\n")
    return site.wrapper(
        'command = ["sleep", "a b"]\nruby = "auto"\nenv_file = "env"\nunset = ["KEPT"]\nlock = "app.lock"\n'
        f'[env]\nURL = "redis://u:{SECRET}@db/0"'
    )


def test_explain(site, wrapper):
    shown = site.drover_exec("--explain", wrapper, "--daemon", "", "it's")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    prefix = f"{site.home}/.rbenv/versions/3.1.2"
    for line in (f"= ruby {prefix}  ({site.app}/.ruby-version:1)",
                 f"+ PATH: {prefix}/bin  ({site.app}/.ruby-version:1)",
                 f"+ PLAIN=1  ({site.app}/env:2)", f"- KEPT  ({wrapper}:5)", f"in {site.app}",
                 f"holding {site.app}/app.lock",
                 f"+ DB_PASSWORD=<masked, 15 bytes>  ({site.app}/env:1)", f"+ URL=<masked, 30 bytes>  ({wrapper}:8)"):  # fmt: skip
        assert line in lines
    assert lines[-1] == "exec /usr/bin/sleep 'a b' --daemon '' 'it'\\''s'"
    assert SECRET not in shown.stdout


def test_explain_runs_nothing(site):
    path = site.wrapper('command = ["touch", "ran"]')
    assert site.drover_exec("--explain", path).returncode == 0
    assert site.drover_exec("--explain", "--", "touch", "ran").returncode == 0
    assert site.drover_exec("--check", path).returncode == 0
    assert not (site.app / "ran").exists()


def test_what_it_takes_back_is_explained(site):
    env = {**site.clean, "PATH": f"{site.home}/.rbenv/versions/1/bin:/usr/bin:/bin", "RBENV_VERSION": "1"}
    lines = site.drover_exec("--explain", "--", "true", env=env).stdout.splitlines()
    assert f"- PATH: {site.home}/.rbenv/versions/1/bin  (rbenv)" in lines
    assert "- RBENV_VERSION  (rbenv)" in lines


def test_no_control_characters(site):
    path = site.wrapper('command = ["true", "\\u001b[2J"]\n[env]\nA = "a\\nb\\u001b[31m\\u007f"')
    text = site.drover_exec("--explain", path).stdout
    assert "+ A=a\\x0ab\\x1b[31m\\x7f" in text and "\x1b" not in text and "\x7f" not in text


def test_json(site, wrapper):
    """scenario 44: the documented members, and masked values."""
    shown = site.drover_exec("--explain", "--json", wrapper, "x")
    found = json.loads(shown.stdout)
    assert found.keys() >= {"v", "program", "arguments", "folder", "lock", "steps"} and found["v"] == 1
    assert found["program"] == "/usr/bin/sleep" and found["arguments"] == ["sleep", "a b", "x"]
    assert found["folder"] == str(site.app) and found["lock"] == f"{site.app}/app.lock"
    assert all(step.keys() == {"kind", "subject", "text", "reason"} for step in found["steps"])
    assert {step["kind"] for step in found["steps"]} <= KINDS and shown.stdout.count("\n") == 1
    assert SECRET not in shown.stdout and "<masked, 15 bytes>" in shown.stdout


def test_json_of_bytes_that_are_no_text(site):
    result = site.run(site.program, "--explain", "--json", "--", "echo", b"\xff", text=False)
    assert result.returncode == 0 and json.loads(result.stdout.decode())["arguments"][0] == "echo"


def test_verbose_says_and_runs(site):
    result = site.drover_exec("-v", site.wrapper(f'command = ["echo", "ran"]\n[env]\nTOKEN = "{SECRET}"'))
    assert result.stdout == "ran\n" and "TOKEN=<masked, 15 bytes>" in result.stderr
    assert SECRET not in result.stderr


MASKED = {
    "password": ("PASSWORD", SECRET), "lower": ("db_passwd", SECRET), "token": ("GITHUB_TOKEN", SECRET),
    "key": ("STRIPE_API_KEY", SECRET), "apikey": ("APIKEY", SECRET), "base": ("SECRET_KEY_BASE", SECRET),
    "private": ("MY_PRIVATE_PEM", SECRET), "credential": ("CREDENTIALS", SECRET),
    "cookie": ("COOKIE_X", SECRET),
    "dsn": ("SENTRY_DSN", f"x{SECRET}"), "url": ("U", f"postgres://app:{SECRET}@db/x"),
    "empty user": ("U", f"redis://:{SECRET}@h"),
    "list": ("U", f"http://a/ redis://u:{SECRET}@h/"), "slash": ("U", f"postgres://u:a/{SECRET}@h/"),
    "query": ("U", f"amqp://u:{SECRET}@h?x=/"),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED)
def test_masked(site, name):
    """scenario 44: in every form; shown when asked for."""
    variable, value = MASKED[name]
    path = site.wrapper(f'command = ["true"]\n[env]\n{variable} = "{value}"')
    forms = (["--explain"], ["--explain", "--json"], ["-v"], ["--diff", os.getpid()])
    for form in forms:
        result = site.drover_exec(*form, path)
        assert SECRET not in result.stdout + result.stderr, form
        result = site.drover_exec(*form, "--show-secrets", path)
        assert SECRET in result.stdout + result.stderr, form


@pytest.mark.parametrize("variable, value",
                         [("PORT", "80"), ("U", "https://host/a@b:c"), ("PASSWORD", ""), ("KEYS", "x")])
def test_not_masked(site, variable, value):
    path = site.wrapper(f'command = ["true"]\n[env]\n{variable} = "{value}"')
    assert f"+ {variable}={value}  ({path}:4)" in site.drover_exec("--explain", path).stdout


def test_record_has_no_new_values(site):
    """scenario 44: DROVER_STATE is no second copy of a secret."""
    (site.app / "env").write_text(f"DB_PASSWORD={SECRET}\n")
    path = site.wrapper(f'command = ["printenv", "DROVER_STATE"]\nenv_file = "env"\n[env]\nKEPT = "{SECRET}"')
    state = site.run(path).stdout
    assert "DB_PASSWORD" in state and SECRET not in state


def test_check(site, wrapper):
    result = site.drover_exec("--check", wrapper)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


CHECKS = {
    "version": ('ruby = "9.9"\ncommand = ["true"]', 78),
    "Gemfile": ('ruby = "system"\nbundle = "setup"\ncommand = ["true"]', 78),
    "command": ('command = ["nowhere-at-all"]', None), "damaged": ("x", 65),
    "ruby": ('ruby = "/opt/broken"\ncommand = ["true"]', 78),
    "env file": ('env_file = "gone"\ncommand = ["true"]', 66),
    "secret": ('command = ["true"]\n[secret]\nX = "file:gone"', 66),
    "no ruby": ('bundle = "setup"\ncommand = ["true"]', 78),
    "version file": ('ruby = "auto"\ncommand = ["true"]', 78),
}  # fmt: skip


@pytest.mark.parametrize("body, code", CHECKS.values(), ids=CHECKS.keys())
def test_check_that_fails(site, body, code):
    """Before a deployment: each with its documented code and one line."""
    result = site.drover_exec("--check", site.wrapper(body))
    assert result.returncode == code if code else result.returncode != 0
    assert result.stderr.startswith("drover-exec: cannot ") and len(result.stderr.splitlines()) <= 2


def test_check_starts_the_interpreter(site):
    prefix = site.app / "ruby"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/ruby").write_text("#!/bin/sh\nexit 3\n")
    (prefix / "bin/ruby").chmod(0o755)
    path = site.wrapper(f'ruby = "{prefix}"\ncommand = ["true"]')
    assert f"{prefix}/bin/ruby" in site.refused("--check", path, code=78)
    (site.app / "Gemfile").write_text('gem "no-such-gem-at-all"\n')
    result = site.drover_exec("--check", site.wrapper('ruby = "system"\ncommand = ["true"]'))
    assert result.returncode == 78


def test_check_executes_as_the_kernel_would(site, wrapper):
    """What a reload executes is the wrapper itself."""
    wrapper.chmod(0o644)
    assert "chmod +x" in site.refused("--check", wrapper, code=77)
    wrapper.chmod(0o755)
    wrapper.write_text(wrapper.read_text().replace(site.program, "/nowhere/drover-exec"))
    assert f"cannot run interpreter '/nowhere/drover-exec': No such file" in site.refused("--check", wrapper, code=66)


CANNOT = {
    "a folder as lock": 'lock = "bin"', "a link as lock": 'lock = "link"', "lock below a file": 'lock = "file/x"',
    "cwd": 'cwd = "file"',
}  # fmt: skip


@pytest.mark.parametrize("body", CANNOT.values(), ids=CANNOT.keys())
def test_check_sees_what_the_run_stumbles_over(site, body):
    (site.app / "file").write_text("")
    (site.app / "link").symlink_to("file")
    path = site.wrapper(f'command = ["true"]\n{body}')
    assert site.run(path).returncode == 125
    site_code = site.drover_exec("--check", path).returncode
    assert site_code not in (0, 125)


def test_check_of_a_script_without_a_first_line(site):
    (site.app / "plain").write_text("echo hi\n")
    (site.app / "plain").chmod(0o755)
    path = site.wrapper('command = ["./plain"]')
    assert site.run(path).returncode == 126
    assert "begins with #!" in site.refused("--check", path, code=71)


def test_check_says_why(site):
    """The first line of what the trial run said."""
    (site.app / "Gemfile").write_text('gem "no-such-gem-at-all"\n')
    said = site.refused("--check", site.wrapper('ruby = "system"\ncommand = ["true"]'), code=78)
    assert "no-such-gem-at-all" in said
    (site.app / "Gemfile").write_text("")
    said = site.refused("--check", site.wrapper('ruby = "system"\ncommand = ["no-such-command"]'), code=78)
    assert "'no-such-command': neither the bundle nor PATH has it" in said


@pytest.mark.parametrize("words, code", [
    (["--check", "--ruby", "9.9"], 78), (["--ruby", "9.9", "--check"], 78), (["--ruby=9.9", "--check"], 78),
    (["--app", ".", "--explain", "--bad"], 64), (["--explain=false"], 64), (["--check=0"], 64), (["--json"], 125),
])  # fmt: skip
def test_codes_wherever_the_mode_stands(site, words, code):
    site.refused(*words, "--", "true", code=code)


def test_explain_shows_the_mask(site):
    assert "umask 0027\n" in site.drover_exec("--explain", site.wrapper('command = ["true"]\numask = "027"')).stdout


@pytest.mark.parametrize("name", ["DB_PASS", "MYSQL_PWD", "PGPASSFILE"])
def test_further_names_of_secrets(site, name):
    path = site.wrapper(f'command = ["true"]\n[env]\n{name} = "{SECRET}"')
    assert SECRET not in site.drover_exec("--explain", path).stdout


def test_no_control_characters_for_the_terminal(site):
    path = site.wrapper('command = ["true"]\n[env]\nA = "\\u009b31m"\nB = "\\u00e9"')
    shown = site.drover_exec("--explain", path).stdout
    assert "+ A=\\xc2\\x9b31m" in shown and "+ B=é" in shown


def test_check_reads_nothing(site):
    """A trial run has no input: with a pipe that nobody closes it would go on for ever."""
    prefix = site.app / "ruby"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/ruby").write_text("#!/bin/sh\ncat\n")
    (prefix / "bin/ruby").chmod(0o755)
    path = site.wrapper(f'ruby = "{prefix}"\ncommand = ["true"]')
    reader, writer = os.pipe()
    try:
        assert site.drover_exec("--check", path, stdin=reader).returncode == 0
    finally:
        os.close(reader)
        os.close(writer)


def test_check_of_a_script_without_its_interpreter(site):
    """scenario 29: it says that it would run, and at the reload it does not."""
    (site.app / "bad").write_text("#!/nowhere/ruby\n")
    (site.app / "bad").chmod(0o755)
    assert site.drover_exec("--check", site.wrapper('command = ["./bad"]')).returncode != 0


def test_wrapper_that_is_missing(site):
    for mode in (["--explain"], ["--check"], ["--diff", os.getpid()]):
        site.refused(*mode, "bin/nowhere", code=66)


@pytest.mark.parametrize("words", [
    ["--explain"], ["--check", "--"], ["--print-hook"], ["--import", ""], ["--explain", "--nonsense", "x"],
    ["--diff", "1"], *(["--diff", pid, "--", "true"] for pid in ("0", "-1", "x", "", "1073741824")),
])  # fmt: skip
def test_wrong_usage(site, words):
    """64, not 125, where no command would be run: of --explain and its like."""
    site.refused(*words, code=64)


def test_hook_of_an_unknown_server(site):
    assert "unicorn, gunicorn and puma" in site.refused("--print-hook", "nginx", code=64)


@pytest.mark.parametrize("server, compiler", [
    ("unicorn", ["ruby", "-wc"]), ("puma", ["ruby", "-wc"]),
    ("gunicorn", ["/usr/bin/python3", "-c", "import ast, sys; ast.parse(sys.stdin.read())"]),
])  # fmt: skip
def test_print_hook(site, server, compiler):
    hook = site.drover_exec("--print-hook", server).stdout
    assert "DROVER_WRAPPER" in hook
    subprocess.run(compiler, input=hook, text=True, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("words", [["--explain", "--", "true"], ["--print-hook", "puma"], ["--help"]])
def test_full_disk(site, words):
    with open("/dev/full", "w") as full:
        command = [site.program, *words]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=site.clean, timeout=60)
    assert result.returncode in (73, 125) and b"standard output" in result.stderr
