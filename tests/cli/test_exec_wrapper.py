"""The wrapper file: its body, how the kernel and people call it, and that arguments are the command's."""

import json
import os
import shutil

import pytest

from support.environments import install, parse, site  # noqa: F401

SHOW = '["/bin/sh", "-c", "printf \'%s\\\\0\' \\"$@\\"", "sh"]'  # prints its arguments, each with a NUL


def words_of(result):
    assert result.returncode == 0, result.stderr
    return result.stdout.split("\0")[:-1]


def body_refused(site, body, *words, code=125):
    path = site.wrapper(body)
    return path, site.refused(path, *words, code=code)


@pytest.mark.parametrize("key, meant", [
    ("rubby", "ruby"), ("comand", "command"), ("env_files", "env_file"), ("secrets", "secret"),
    ("pyton", "python"),
    ("envfile", "env_file"), ("Ruby", "ruby"), ("umaks", "umask"), ("qqqqqqqqqqqq", None),
])  # fmt: skip
def test_unknown_key(site, key, meant):
    path, said = body_refused(site, f'command = ["true"]\n\n{key} = "x"')
    assert f"'{path}:4'" in said and f"unknown key '{key}'" in said
    assert ("did you mean" in said) == bool(meant) and (not meant or f"'{meant}'" in said)


def test_manager_as_a_key(site):
    path, said = body_refused(site, 'command = ["true"]\nrbenv = "3.1"')
    assert f"'{path}:3': unknown key 'rbenv'; ruby = \"rbenv:...\" chooses by that manager" in said


def test_manager_of_no_language_as_a_key(site):
    assert "unknown key 'bundler'" in body_refused(site, 'command = ["true"]\nbundler = "2"')[1]


@pytest.mark.parametrize("key, name, hint", [("ruby", "rbenv", "rbenv:auto"), ("python", "venv", "venv:FOLDER")])
def test_manager_as_a_version(site, key, name, hint):
    said = body_refused(site, f'command = ["true"]\n{key} = "{name}"')[1]
    assert "that is a manager" in said and f'"{hint}"' in said


WRONG = {
    "no TOML": "ruby 3.1", "unclosed": 'ruby = "3.1', "number": "ruby = 3.1",
    "twice": 'ruby = "none"\nruby = "none"',
    "empty command": "command = []", "command of numbers": "command = [1]", "no command": 'ruby = "none"',
    "empty word": 'command = [""]', "bundle": 'bundle = "yes"', "clean": 'clean = "all"',
    "umask": 'umask = "8"',
    "large umask": 'umask = "1777"', "number as umask": "umask = 0o27", "NUL": 'command = ["tr\\u0000ue"]',
    "table": 'env = "x"', "value of a table": "[env]\nX = 1", "secret": '[secret]\nX = "plain"',
    "cred with a path": '[secret]\nX = "cred:../x"', "path": '[path]\nfront = ["x"]',
    "empty path": 'app = ""',
    "flag": 'insecure_paths = "yes"', "name": "[env]\n'A=B' = 'x'", "no name": "[env]\n'' = 'x'",
    "unknown manager": 'ruby = "foo:3.1"', "command as a path": 'ruby = "../x"', "pass": "pass = [1]",
}  # fmt: skip


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_damaged_body(site, body):
    path, said = body_refused(site, body)
    assert str(path) in said
    result = site.drover_exec("--check", path)
    assert result.returncode == 65, result.stderr


@pytest.mark.parametrize("start, why", [
    ("", "does not begin with"), ("\ufeff#!{program}\n", "does not begin with"),
    (" #!{program}\n", "does not begin with"), ("#!{program}\r\n", "carriage return"),
    ("#!" + "x" * 300 + "\n", "255 bytes"),
])  # fmt: skip
def test_first_line_that_the_kernel_does_not_take(site, start, why):
    """Called by the program it would work, and at the reload it does not."""
    path = site.wrapper("")
    path.write_bytes((start.format(program=site.program) + 'command = ["true"]\n').encode())
    said = site.refused(path)
    assert f"'{path}:1'" in said and why in said


@pytest.mark.parametrize("body, why", [
    ('command = "unicorn -c x"', "each word"), ('command = ["unicorn", "$@"]', "follow by themselves"),
    ('command = ["true"]\n[env]\nlock = "x"', "above the first line in [brackets]"),
    ('command = ["true"]\n[env]\numask = "027"', "above the first line"), ("ruby = auto", "in quotes"),
])  # fmt: skip
def test_slips(site, body, why):
    """What would do something else than it says."""
    _, said = body_refused(site, body)
    assert why in said


def test_arguments_are_no_command(site):
    said = site.refused(site.wrapper('ruby = "none"'), "touch", "ran")
    assert "it has no command" in said and not (site.app / "ran").exists()


@pytest.mark.parametrize("gemfile, command, wanted", [
    (True, ["bundle", "exec", "say", "x"], ["say", "x"]), (True, ["bundle", "exec", "--x", "say"], None),
    (False, ["bundle", "exec", "say"], None), (True, ["bundle", "exec"], None),
])  # fmt: skip
def test_bundle_exec_in_front(site, gemfile, command, wanted):
    """The literal translation of the classic script: with it the server would remember Bundler's file."""
    (site.app / "say").write_text("#!/usr/bin/ruby\n")
    (site.app / "say").chmod(0o755)
    if gemfile:
        (site.app / "Gemfile").write_text("")
    path = site.wrapper(f'ruby = "system"\ncommand = {json.dumps(command)}\n[path]\nprepend = ["."]')
    arguments = json.loads(site.drover_exec("--explain", "--json", path).stdout)["arguments"]
    if wanted:
        assert arguments[-1] == "x" and "say" in arguments and "exec" not in arguments
    else:
        assert arguments[-len(command) + 1:] == command[1:]


def test_bundle_of_other_commands(site):
    """bundle = "setup" is what `bundle exec` gives, also to ruby itself and to what starts rubies."""
    (site.app / "Gemfile").write_text("")
    (site.app / "s.rb").write_text("puts defined?(Bundler) ? 1 : 0\n")
    for command in (["ruby", "s.rb"], ["/bin/sh", "-c", "ruby s.rb"], ["/usr/bin/ruby", "s.rb"]):
        path = site.wrapper(f'ruby = "system"\nbundle = "setup"\ncommand = {json.dumps(command)}')
        result = site.run(path)
        assert result.stdout == "1\n", (command, result.stderr)
        plain = site.wrapper(f'ruby = "system"\nbundle = "none"\ncommand = {json.dumps(command)}', name="bin/plain")
        assert site.run(plain).stdout == "0\n"
        assert site.run(plain, env=parse(site.run(site.wrapper(
            'ruby = "system"\nbundle = "setup"\ncommand = ["env", "-0"]', name="bin/shows")).stdout)).stdout == "0\n"


def test_line_of_a_value_of_wrong_kind(site):
    path, said = body_refused(site, 'command = ["true"]\n[env]\nA = "x"\nB = 1')
    assert f"'{path}:5'" in said


def test_body_is_bounded(site):
    assert "longer than" in body_refused(site, "#" * (300 << 10))[1]


def test_command_may_be_one_text(site):
    assert site.run(site.wrapper('command = "true"')).returncode == 0


def test_keys_of_the_environment_in_order(site):
    """source, env_dir, env_file, unset, [env], [secret], [path]: the later wins."""
    for name, text in {"s": "export A=s B=s C=s D=s\n", "f": "C=f\nD=f\nE=f\n", "d/B": "d",
                       "d/C": "d"}.items():
        (site.app / name).parent.mkdir(exist_ok=True)
        (site.app / name).write_text(text)
    path = site.wrapper(
        'command = ["env", "-0"]\nsource = "s"\nenv_dir = "d"\nenv_file = "f"\nunset = ["E", "KEPT"]\n'
        '[env]\nD = "env"\n[secret]\nS = "file:f"\n[path]\nprepend = ["bin", "/first"]\nappend = ["../last"]'
    )
    found = parse(site.run(path).stdout)
    assert [found.get(name) for name in "ABCDE"] == ["s", "d", "f", "env", None]
    assert found["S_FILE"] == f"{site.app}/f" and "S" not in found and "KEPT" not in found
    parts = found["PATH"].split(":")
    assert parts[:2] == [f"{site.app}/bin", "/first"] and parts[-1] == f"{site.folder}/last"


ARGUMENTS = ["--help", "--version", "--", "", "-e", "exit 'x'", "--explain", "--dry-run", "a b", "$(id)",
             "*", "é"]


def test_arguments_are_the_commands(site):
    """scenario 27: nothing behind the wrapper is interpreted."""
    path = site.wrapper(f"command = {SHOW}")
    assert words_of(site.run(path, *ARGUMENTS)) == ARGUMENTS
    assert words_of(site.drover_exec(path, *ARGUMENTS)) == ARGUMENTS
    for word in ARGUMENTS:
        assert words_of(site.run(path, word)) == [word]


def test_arguments_that_are_no_text(site):
    """scenario 27"""
    path = site.wrapper(f"command = {SHOW}")
    result = site.run(path, b"\xff\xfe", text=False)
    assert result.stdout == b"\xff\xfe\0"


def test_arguments_of_a_command(site):
    """scenario 27"""
    words = ["/bin/sh", "-c", "printf '%s\\0' \"$@\"", "sh", *ARGUMENTS]
    assert words_of(site.drover_exec("--", *words)) == ARGUMENTS
    assert words_of(site.drover_exec("-q", "--ruby", "none", "--", *words)) == ARGUMENTS


@pytest.mark.parametrize("options, word", [
    *((option, word) for option in ("-q", "--insecure-paths") for word in ("--help", "--", "", "--x=y")),
    ("-q", "--preload="),
    ("--insecure-paths", "--preload="),
])  # fmt: skip
def test_arguments_behind_options_of_ours(site, options, word):
    """scenario 27: the same with an option in the first line, as in `#!/usr/bin/drover-exec -v`."""
    path = site.wrapper(f"command = {SHOW}")
    assert words_of(site.drover_exec(options, path, word)) == [word]


POLYGLOT = 'ruby = "system"\n#!ruby\n'
SAY = 'print [$0, *ARGV, ENV["DROVER_STAGE2"], Process.pid].join("|")'


def test_wrapper_that_is_a_ruby_script(site):
    """$0 is the wrapper, by the path as it was called, and the process is the same."""
    path = site.wrapper(POLYGLOT, SAY)
    link = site.folder / "link"
    link.symlink_to(site.app)
    result = site.run("/bin/sh", "-c", 'echo $$; exec "$@"', "sh", link / "bin/server", "--help", "a b")
    pid, words = result.stdout.split("\n")
    assert words == f"{link}/bin/server|--help|a b|1|{pid}", result.stderr
    assert path.exists()


def test_ruby_script_that_is_started_past_the_first_line(site):
    """As puma does it: ruby with the file again; the wrapper is to run once more, not twice."""
    again = 'exec(File.expand_path(__FILE__), *ARGV) unless ENV.delete("DROVER_STAGE2")\n'
    path = site.wrapper(POLYGLOT + again, SAY)
    assert site.run("ruby", path, "x").stdout.startswith(f"{path}|x||")


@pytest.mark.parametrize("body, says", [
    ('#!ruby\nputs 1', "chooses no ruby"), ('command = ["true"]\n#!perl\n', "does not name ruby"),
    ('rubby = "system"\n#!ruby\n', "unknown key"),
])  # fmt: skip
def test_ruby_script_that_is_none(site, body, says):
    assert says in body_refused(site, body)[1]


def test_tail_is_not_read_as_toml(site):
    path = site.wrapper(POLYGLOT, "x = [1,\n]; puts(%w[= = =]); exit 7 # [[[")
    assert site.run(path).returncode == 7


OWN = 'command = ["/bin/sh", "-c", "printf \'%s|%s|%s\' \\"$DROVER_WRAPPER\\" \\"$PWD\\" \\"$1\\"", "sh"]'


def called(site, *command, **options):
    result = site.run(*command, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout.split("|")[:2]


def test_names_itself_as_it_was_called(site):
    """scenario 25: through PATH, by a relative path, by a link to it, by a link on the way."""
    path, app = site.wrapper(OWN), str(site.app)
    in_path = {**site.clean, "PATH": f"{path.parent}:{site.clean['PATH']}"}
    here = {**site.clean, "PWD": app}
    assert called(site, "/usr/bin/env", "server", env=in_path) == [str(path), app]
    assert called(site, "./bin/../bin/server", env=here)[0] in (f"{app}/bin/../bin/server", str(path))
    assert called(site, "bin/server", env=here) == [str(path), app]
    assert called(site, "bin/server", env={**site.clean, "PWD": "/wrong"}) == [str(path), app]
    link = site.folder / "current"
    link.symlink_to(site.app)
    assert called(site, "bin/server", cwd=link,
                  env={**site.clean, "PWD": str(link)}) == [f"{link}/bin/server", str(link)]


def test_link_to_a_wrapper(site):
    """scenario 25: the link's name is the wrapper's; its application is beside the link."""
    site.wrapper(OWN)
    other = site.folder / "other/bin"
    other.mkdir(parents=True)
    (other / "server").symlink_to(site.app / "bin/server")
    assert called(site, other / "server") == [f"{other}/server", str(other.parent)]


@pytest.mark.parametrize("name", [b"a b", b"\xff\xfe", b"q'\"$x", b"new\nline", "é".encode(), b"-x"])
def test_path_of_any_bytes(site, name):
    """scenario 25: blanks, and what is no UTF-8."""
    app = os.path.join(os.fsencode(site.folder), name)
    shutil.copytree(os.fsencode(site.wrapper(OWN).parent), os.path.join(app, b"bin"))
    result = site.run(os.path.join(app, b"bin/server"), text=False)
    assert result.stdout == app + b"/bin/server|" + app + b"|", result.stderr
    explained = site.run(site.program, "--explain", os.path.join(app, b"bin/server"), text=False)
    assert explained.returncode == 0 and b"exec /bin/sh" in explained.stdout


@pytest.mark.parametrize("line", ["#!{program}", "#! {program} ", "#!/usr/bin/env drover-exec",
                                  "#!/usr/bin/env -S drover-exec -q --insecure-paths",
                                  "#!{program} -q"])  # fmt: skip
def test_first_lines(site, line):
    """scenario 26"""
    path = site.wrapper("")
    path.write_text(f"{line.format(program=site.program)}\ncommand = {SHOW}\n")
    env = {**site.clean, "PATH": f"{os.path.dirname(site.program)}:{site.clean['PATH']}"}
    assert words_of(site.run(path, "--help", env=env)) == ["--help"]


def test_wrapper_as_an_interpreter(site):
    """scenario 26: Linux hands the script's name to the wrapper's command."""
    path = site.wrapper(f"command = {SHOW}")
    script = site.app / "script"
    script.write_text(f"#!{path} -x\n")
    script.chmod(0o755)
    assert words_of(site.run(script, "a")) == ["-x", str(script), "a"]


def test_first_line_that_the_kernel_cuts(site):
    """scenario 26: the rest of a line of more than 250 bytes is silently lost."""
    path = site.wrapper("")
    path.write_text(f"#!{site.program} -q{' ' * 300}\ncommand = ['true']\n")
    assert str(path) in site.refused(path)


def test_commands_status_is_passed_on(site):
    path = site.wrapper('command = ["/bin/sh", "-c"]')
    for code in (0, 1, 64, 125, 126, 127, 255):
        assert site.run(path, f"exit {code}").returncode == code
    assert site.run(path, "kill -9 $$").returncode == -9


def fake(site, name, text="", mode=0o755):
    file = site.app / name
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize("command, code", [
    ("nowhere", 127), ("./nowhere", 127), ("/nowhere/x", 127), ("./plain", 126), ("/", 126), ("./bin", 126),
    ("./bad", 126), ("/dev/null", 126), ("./plain/x", 127),
])  # fmt: skip
def test_command_that_cannot_be_executed(site, command, code):
    """scenario 29"""
    fake(site, "plain", "x", 0o644)
    fake(site, "bad", "#!/nowhere/ruby -w\n")
    path = site.wrapper(f"command = ['{command}']")
    said = site.refused(path, code=code)
    assert command.removeprefix(".") in said
    assert command != "./bad" or "/nowhere/ruby" in said
    assert site.refused("--", command, code=code)


def test_program_that_is_not_executable_in_path(site):
    """scenario 29: the next one in PATH is taken; 126 when there is none."""
    fake(site, "mine", "x", 0o644)
    env = {**site.clean, "PATH": f"{site.app}:/usr/bin:/bin"}
    site.refused("--", "mine", env=env, code=126)
    fake(site, "true", "x", 0o644)
    assert site.drover_exec("--", "true", env=env).returncode == 0


def test_own_failure_and_wrong_usage(site):
    """scenario 29: 125 for what is ours."""
    for words in ([], ["--nonsense", "--", "true"], ["--"], ["/nowhere/wrapper"], ["-x"], ["--ruby"], [""]):
        site.refused(*words)
    site.refused(install(site.app / "ruby") / "bin", code=125)


@pytest.mark.parametrize("text, value", [
    ('"""\\\n  é"""', "é"), ('"""a\\ \n\t\u3400"""', "a\u3400"), ('"""é \\\n  e é"""', "é e é"),
    ('"\\\\é"', "\\é"), ("'é'", "é"), ('"\\é"', None), ('"""\\ﻟ"""', None), ("é", None), ("7é", None), ("[~'é", None),
])  # fmt: skip
def test_letters_beyond_ascii(site, text, value):
    """Where toml++ 3.3 takes them for impossible its behaviour would be undefined."""
    path = site.wrapper(f'command = ["/usr/bin/env"]\n[env]\nA = {text}')
    if value is None:
        assert f"'{path}:" in site.refused(path)
    else:
        assert f"A={value}\n" in site.run(path).stdout
