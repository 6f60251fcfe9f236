"""Variables from files: data, never code. The grammar, hostile content, env_dir, secrets, sizes."""

import os

import pytest

from support.environments import parse, site  # noqa: F401


def with_file(site, content, body="", name="env"):
    """A wrapper with this env file."""
    (site.app / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return site.wrapper(f'command = ["/usr/bin/env", "-0"]\nenv_file = "{name}"\n{body}')


def values(site, path, *names, **options):
    result = site.run(path, **options)
    assert result.returncode == 0, result.stderr
    found = parse(result.stdout)
    return [found.get(name) for name in names]


GRAMMAR = [
    ("X=a", "a"), ("X=", ""), ("X=a b", "a b"), ("X=a b  \t", "a b"), ("  X=a", "a"), ("export X=a", "a"),
    ("export\tX=a", "a"), ("X=a # b", "a"), ("X=a\t#b", "a"), ("X=a#b", "a#b"), ("X=#b", "#b"),
    ("X=a=b", "a=b"),
    ("X='a # $b'", "a # $b"), ("X='a\nb'", "a\nb"), ("X='a\\nb'", "a\\nb"), ('X="a\\nb\\t"', "a\nb\t"),
    ('X="a\\\\b\\"c\\$d"', 'a\\b"c$d'), ('X="a\nb"', "a\nb"), ('X="a" # c', "a"), ("X='a'\t ", "a"),
    ('X=""', ""),
    ("X=a\r\nY=b\r\n", "a"), (b"\xef\xbb\xbfX=a\n", "a"), ("# X=b\n\nX=a", "a"), ("X=a\nX=a\n", "a"),
    ("X=a'b", "a'b"),
    ('X=a "b"', 'a "b"'), ("X=é", "é"), ("X=\\n", "\\n"), ("_1=b\nX=a", "a"), ("X= a", "a"),
]  # fmt: skip


@pytest.mark.parametrize("text, value", GRAMMAR, ids=[str(number) for number in range(len(GRAMMAR))])
def test_grammar(site, text, value):
    assert values(site, with_file(site, text), "X") == [value]


def test_carriage_return(site):
    result = site.run(with_file(site, 'X="a\\r"\r\nY=\'a\r\nb\'\r\n'), text=False)
    assert b"\0X=a\r\0" in result.stdout and b"\0Y=a\r\nb\0" in result.stdout


@pytest.mark.parametrize("text", [
    "$(touch ran)", "`touch ran`", "${HOME}", "$HOME", "${X:-$(touch ran)}", "~", "*", "a; touch ran",
    "$((1+1))",
    "a && touch ran", "<(touch ran)", "%PATH%", "\\$(touch ran)",
])  # fmt: skip
def test_nothing_is_expanded(site, text):
    """scenario 35: a value is what stands there, plain, and in both quotes."""
    path = with_file(site,
                     f"X={text}\nY='{text}'\n" + (f'Z="{text}"\n' if "\\" not in text else f"Z='{text}'\n"))
    assert values(site, path, "X", "Y", "Z") == [text] * 3
    assert not (site.app / "ran").exists()


DAMAGED = {
    "single quote": ("A=1\nX='a\nB=2\n", 2), "double quote": ('X="a\nB=2\n', 1),
    "escaped end": ('X="a\\"', 1),
    "NUL": (b"A=1\nX=a\0b\n", 2), "NUL in a name": (b"X\0=a\n", 1), "duplicate": ("X=a\nB=\nX=b\n", 3),
    "no equals": ("A=1\n\n# c\nX\n", 4), "digit": ("1X=a\n", 1), "dash": ("X-Y=a\n", 1),
    "no name": ("=a\n", 1),
    "blank before equals": ("X =a\n", 1), "behind the quote": ("X='a'b\n", 1), "escape": ('X="\\x41"\n', 1),
    "non-UTF-8 name": (b"\xff=a\n", 1), "UTF-16": ("X=a\n".encode("utf-16"), 1),
    "shell": ("A=1\nif true; then\n", 2),
    "behind lines in quotes": ("A='1\n2\n3'\nX\n", 4), "unset": ("unset X\n", 1),
    "binary": (b"\x7fELF\x02\x01\0\0", 1),
}  # fmt: skip


@pytest.mark.parametrize("text, line", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_file(site, text, line):
    """scenario 35: an error with file and line, and no half environment."""
    path = with_file(site, text)
    assert f"'{site.app}/env:{line}'" in site.refused(path)
    assert site.drover_exec("--check", path).returncode == 65


@pytest.mark.parametrize("name", ["/etc/passwd", "/etc/shadow"])
def test_damaged_file_is_not_quoted(site, name):
    """scenario 35: a wrong env_file does not print what is in the file."""
    path = site.wrapper(f'command = ["true"]\nenv_file = "{name}"')
    said = site.refused(path)
    with open(name) as file:
        assert not any(len(word) > 20 and word in said for line in file for word in line.split(":")), said


DANGEROUS = ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "BASH_ENV", "ENV", "IFS",
             "PYTHONSTARTUP",
             "PYTHONHOME", "PERL5OPT", "NODE_OPTIONS", "RUBYOPT", "GIT_SSH_COMMAND", "PATH",
             "DROVER_STATE"]  # fmt: skip


@pytest.mark.parametrize("name", DANGEROUS)
def test_dangerous_name(site, name):
    """scenario 35: a file beside the wrapper does not decide what is executed."""
    path = with_file(site, f"{name}=/nowhere\n")
    said = site.refused(path)
    assert f"'{name}'" in said and f"'{site.app}/env'" in said and "allow" in said
    folder = site.app / "folder"
    folder.mkdir()
    (folder / name).write_text("/nowhere")
    assert f"'{name}'" in site.refused(site.wrapper('command = ["true"]\nenv_dir = "folder"'))


def test_dangerous_name_that_is_allowed(site):
    """scenario 35: by the wrapper, which may also set it itself."""
    path = with_file(site, "PERL5OPT=-w\n", 'allow = ["PERL5OPT"]\n[env]\nGIT_SSH_COMMAND = "x"')
    assert values(site, path, "PERL5OPT", "GIT_SSH_COMMAND") == ["-w", "x"]
    path = with_file(site, "RUBYOPT=-w\n", 'allow = ["PERL5OPT"]')
    assert "'RUBYOPT'" in site.refused(path)


def test_huge_file(site):
    """scenario 35: 1 GB (sparse) is refused without reading all of it."""
    path = with_file(site, "X=1\n")
    os.truncate(site.app / "env", 1 << 30)
    assert "env" in site.refused(path)
    path = with_file(site, b"#" * (1 << 20) + b"\nX=1\n")
    assert f"{site.app}/env" in site.refused(path)


@pytest.mark.parametrize("make", [
    os.mkfifo, os.mkdir, lambda path: os.symlink(path, path), lambda path: os.symlink("/dev/zero", path),
    lambda path: os.symlink("/dev/tty", path), lambda path: None,
], ids=["FIFO", "directory", "loop", "zero", "tty", "missing"])  # fmt: skip
def test_file_of_another_kind(site, make):
    """scenario 35: neither hangs nor is passed over."""
    path = with_file(site, "", "insecure_paths = true")
    os.unlink(site.app / "env")
    make(site.app / "env")
    assert f"{site.app}/env" in site.refused(path)


def test_several_files(site):
    (site.app / "one").write_text("A=1\nB=1\n")
    (site.app / "two").write_text("B=2\nC=2\n")
    path = site.wrapper('command = ["/usr/bin/env", "-0"]\nenv_file = ["one", "two"]')
    assert values(site, path, "A", "B", "C") == ["1", "2", "2"]


def env_dir(site, **files):
    folder = site.app / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return site.wrapper('command = ["/usr/bin/env", "-0"]\nenv_dir = "folder"')


@pytest.mark.parametrize("content, value", [
    (b"a\n", "a"), (b"a", "a"), (b"a\nb\n", "a"), (b"a b \t\n", "a b"), (b"a\0b\n", "a\nb"), (b"\n", ""),
    (b"", None),
    (b" a", " a"), (b"'a'", "'a'"), (b"$(touch ran)", "$(touch ran)"),
])  # fmt: skip
def test_env_dir(site, content, value):
    """As envdir(8): the first line without blanks at its end; an empty file unsets."""
    assert values(site, env_dir(site, KEPT=content), "KEPT") == [value]


def test_env_dir_leaves_out(site):
    path = env_dir(site, **{".hidden": b"x", "A": b"1"})
    (site.app / "folder/B=C").write_text("x")
    assert values(site, path, "A", ".hidden", "B") == ["1", None, None]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)],
                         ids=["FIFO", "zero"])
def test_env_dir_with_something_else(site, make):
    """scenario 35"""
    path = env_dir(site, A=b"1")
    make(site.app / "folder/B")
    assert f"{site.app}/folder/B" in site.refused(path)


def test_env_dir_that_is_missing(site):
    assert f"{site.app}/gone" in site.refused(site.wrapper('command = ["true"]\nenv_dir = "gone"'))


def test_secrets_are_paths(site):
    """The program gets the file's name; the secret is in no environment."""
    for name in ("app/key", "credentials/db"):
        (site.folder / name).parent.mkdir(exist_ok=True)
        (site.folder / name).write_text("hunter2")
    body = 'command = ["/usr/bin/env", "-0"]\n[secret]\nKEY = "file:key"\nDB = "cred:db"'
    env = {**site.clean, "CREDENTIALS_DIRECTORY": f"{site.folder}/credentials"}
    result = site.run(site.wrapper(body), env=env)
    found = parse(result.stdout)
    assert (found["KEY_FILE"], found["DB_FILE"]) == (f"{site.app}/key", f"{site.folder}/credentials/db")
    assert "hunter2" not in result.stdout and not {"KEY", "DB"} & found.keys()


@pytest.mark.parametrize("where", ["file:gone", "cred:gone"])
def test_secret_that_is_missing(site, where):
    said = site.refused(site.wrapper(f'command = ["true"]\n[secret]\nKEY = "{where}"'))
    assert "KEY" in said and "gone" in said


def test_credential_without_a_folder(site):
    """Without systemd's variable a credential is not looked for in the root folder."""
    path = site.wrapper('command = ["env"]\n[secret]\nKEY = "cred:tmp"')
    assert "KEY" in site.refused(path)


def long_file(site, size):
    """KB of one value, its name and "=" and NUL with it."""
    return with_file(site, "A=1\nBIG_ONE=" + "x" * (size - len("BIG_ONE=") - 1) + "\n")


def test_longest_variable(site):
    """scenario 34: the kernel takes 131072 bytes; one more is an error that names the variable."""
    assert len(values(site, long_file(site, 131072), "BIG_ONE")[0]) == 131072 - 9
    said = site.refused(long_file(site, 131073))
    assert "BIG_ONE" in said and "131072" in said and "xxxx" not in said


def test_check_sees_a_variable_that_is_too_long(site):
    """scenario 34"""
    result = site.drover_exec("--check", long_file(site, 200000))
    assert result.returncode != 0 and "BIG_ONE" in result.stderr
