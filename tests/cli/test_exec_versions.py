"""drover-exec finds the version that a project asks for, in every manager's layout, and fails closed:
a version file can select among what is installed, and nothing else."""

import os

import pytest

from support.environments import NODE, PYTHON, RUBY, install, site  # noqa: F401
from support.flocks import as_nobody

MANAGERS = {
    "rbenv": ("ruby", ".rbenv/versions/3.1.2"),
    "rvm": ("ruby", ".rvm/rubies/ruby-3.1.2"),
    "chruby": ("ruby", ".rubies/ruby-3.1.2"),
    "asdf": ("ruby", ".asdf/installs/ruby/3.1.2"),
    "mise": ("ruby", ".local/share/mise/installs/ruby/3.1.2"),
    "pyenv": ("python", ".pyenv/versions/3.11.2"),
    "nodenv": ("node", ".nodenv/versions/18.1.0"),
    "nvm": ("node", ".nvm/versions/node/v18.1.0"),
}
MORE = {
    "asdf python": ("python", ".asdf/installs/python/3.11.2"),
    "asdf node": ("node", ".asdf/installs/nodejs/18.1.0"),
    "mise python": ("python", ".local/share/mise/installs/python/3.11.2"),
    "mise node": ("node", ".local/share/mise/installs/node/18.1.0"),
}
INTERPRETERS = {"ruby": RUBY, "python": PYTHON, "node": NODE}
VERSIONS = {"ruby": "3.1.2", "python": "3.11.2", "node": "18.1.0"}


def at_home(site, language, folder):
    return install(site.home / folder, interpreter=INTERPRETERS[language])


def ask(site, text, name=".ruby-version"):
    path = site.app / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def two(site):
    """rbenv with 3.1.2 and 3.1.10."""
    return site.rbenv("3.1.2", "3.1.10") / "versions"


@pytest.mark.parametrize("name", ["Gemfile", "gems.rb"])
@pytest.mark.parametrize("line", ['ruby "3.1.2"', "ruby '3.1.2'", 'ruby("3.1.2")', 'ruby\t"3.1.2"', "ruby ( '3.1.2' ) # x"])
def test_gemfile(site, name, line):
    site.rbenv("3.1.2", "3.1.10")
    (site.app / name).write_text(f"source 'https://example.org'\nrubyish\n{line}\n")
    assert site.chosen("ruby") == (f"{site.home}/.rbenv/versions/3.1.2", f"{site.app}/{name}:3")


@pytest.mark.parametrize("text", ['ruby(">= 3")', "ruby file: '.x'", "=begin\nruby '3.1.2'\n=end\n", "#" * 70000])
def test_gemfile_that_is_not_understood(site, text):
    """Another version is not taken for it."""
    (site.rbenv("3.1.10") / "version").write_text("3.1.10")
    (site.app / "Gemfile").write_text(text)
    assert f"{site.app}/Gemfile" in site.refused("--ruby", "auto", "--", "true")


def test_gemfile_of_another_kind(site):
    (site.rbenv("3.1.10") / "version").write_text("3.1.10")
    (site.app / "Gemfile").mkdir()
    assert f"{site.app}/Gemfile" in site.refused("--ruby", "auto", "--", "true")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_application_that_is_no_folder(site, name):
    """A slip in a deployment's prefix is not the system's ruby."""
    (site.app / "file").write_text("")
    assert "cannot use folder" in site.refused("--app", name, "--", "true")
    assert site.drover_exec("--check", "--app", name, "--", "true").returncode == 66


def test_system_by_the_path_of_the_wrapper(site):
    """"system" is what PATH has in the end."""
    install(site.app / "tools", interpreter=NODE)
    body = 'node = "system"\ncommand = ["node"]\n[path]\nprepend = ["tools/bin"]'
    result = site.run(site.wrapper(body), env={**site.clean, "PATH": "/nowhere"})
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("spec", ["venv", "rbenv"])
def test_manager_without_a_version(site, spec):
    language = "python" if spec == "venv" else "ruby"
    assert f'"{spec}:' in site.refused(f"--{language}", spec, "--", "true")


@pytest.mark.parametrize("layout", MANAGERS | MORE)
def test_layout(site, layout):
    language, folder = (MANAGERS | MORE)[layout]
    prefix = at_home(site, language, folder)
    ask(site, VERSIONS[language], f".{language}-version")
    assert site.chosen(language) == (str(prefix), f"{site.app}/.{language}-version:1")
    found = site.environment_of(f"--{language}", "auto", "--")
    assert found["PATH"].startswith(f"{prefix}/bin:") or layout == "rvm"
    assert f"{prefix}/bin" in found["PATH"].split(":")


@pytest.mark.parametrize("layout", MANAGERS)
def test_manager_by_name(site, layout):
    language, folder = MANAGERS[layout]
    prefix = at_home(site, language, folder)
    assert site.chosen(language, f"{layout}:{VERSIONS[language]}") == (str(prefix), f"--{language}")
    others = {name for name, (speaks, _) in MANAGERS.items() if speaks == language} - {layout}
    for other in others:
        said = site.refused(f"--{language}", f"{other}:{VERSIONS[language]}", "--", "true")
        assert "not installed in" in said and f"{layout}:" in said


@pytest.mark.parametrize("variable, below, language", [
    ("RBENV_ROOT", "versions/3.1.2", "ruby"), ("PYENV_ROOT", "versions/3.11.2", "python"),
    ("NODENV_ROOT", "versions/18.1.0", "node"), ("ASDF_DATA_DIR", "installs/ruby/3.1.2", "ruby"),
    ("MISE_DATA_DIR", "installs/ruby/3.1.2", "ruby"), ("NVM_DIR", "versions/node/v18.1.0", "node"),
    ("rvm_path", "rubies/ruby-3.1.2", "ruby"), ("XDG_DATA_HOME", "mise/installs/ruby/3.1.2", "ruby"),
])  # fmt: skip
def test_root_of_a_manager_elsewhere(site, variable, below, language):
    elsewhere = site.folder / "elsewhere"
    prefix = install(elsewhere / below, interpreter=INTERPRETERS[language])
    env = {**site.clean, variable: str(elsewhere)}
    assert site.chosen(language, VERSIONS[language], env=env)[0] == str(prefix)


INSTALLED = ("3.1.2", "3.1.10", "3.10.0", "3.1.0-preview1")


@pytest.mark.parametrize("asked, wanted", [
    ("3.1", "3.1.10"), ("3", "3.10.0"), ("3.10", "3.10.0"), ("3.1.0-preview1", "3.1.0-preview1"),
    ("ruby-3.1.2", "3.1.2"), ("3.1.2", "3.1.2"), ("3.1.1", None), ("3.1.10.0", None), ("1", None),
    ("3.", None), ("3.1.", None), ("3.1.20", None), ("jruby-3.1.2", None), ("0x3", None),
])  # fmt: skip
def test_prefix_by_whole_components(site, asked, wanted):
    """scenario 31: "3.1" is the numerically highest release; "3.1.1" is not 3.1.10."""
    root = site.rbenv(*INSTALLED)
    file = ask(site, asked)
    if wanted:
        assert site.chosen("ruby")[0] == str(root / "versions" / wanted)
        return
    said = site.refused("--", "true")
    assert f"asked for by {file}:1, it is not installed" in said
    assert all(f"rbenv:{version}" in said for version in INSTALLED)


def test_folder_without_an_interpreter_is_not_installed(site):
    (site.home / ".rbenv/versions/3.1.2/bin").mkdir(parents=True)
    assert "not installed" in site.refused("--ruby", "3.1.2", "--", "true")


def test_exact_one_before_the_first_manager(site):
    """A version that another manager has exactly is better than one that begins with it."""
    site.rbenv("3.1.10")
    exact = at_home(site, "ruby", ".rubies/ruby-3.1")
    assert site.chosen("ruby", "3.1")[0] == str(exact)


def test_order_of_managers(site):
    for name in ("rvm", "chruby", "rbenv", "asdf", "mise"):
        prefix = at_home(site, *MANAGERS[name])
        assert site.chosen("ruby", "3.1.2")[0] == str(prefix)


GOOD = {
    "plain": "3.1.10", "newline": "3.1.10\n", "CRLF": "3.1.10\r\n", "BOM": b"\xef\xbb\xbf3.1.10\n",
    "comment first": "# which\n\n3.1.10\n", "comment behind": "3.1.10 # because", "blanks": "\t 3.1.10  \n",
    "second line": "3.1.10\n3.1.2\n", "1024 bytes": b"3.1.10\n" + b"#" * 1017, "word": "ruby-3.1.10\n",
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_forms_of_a_version_file(site, two, text):
    """scenario 30: what managers accept is accepted."""
    ask(site, text)
    assert site.chosen("ruby")[0] == str(two / "3.1.10")


BAD = {
    "up": "../../x", "dots": "..", "dot": ".", "inner dots": "a/../b", "absolute": "/usr", "star": "*",
    "option": "-rfoo", "command": "$(touch pwn)", "backticks": "`touch pwn`", "NUL": b"3.1.2\0",
    "NUL first": b"\0",
    "10 MB": b"3.1.2\n" + b" " * (10 << 20), "1025 bytes": b"3.1.2\n" + b"#" * 1019, "empty": "",
    "blank": " \n\t\n",
    "only BOM": b"\xef\xbb\xbf", "only comment": "# 3.1.2\n", "two words": "3.1.2 3.1.10",
    "non-UTF-8": b"3.1.2\xff",
    "escape": "3.1.2\x1b[2J", "home": "~", "brace": "{3.1.2,x}", "lts": "lts/../../x",
    "UTF-16": "3.1.2".encode("utf-16"),
    "semicolon": "3.1.2;id", "below": "3.1.2/bin", "path": "path:/usr",
}  # fmt: skip


@pytest.mark.parametrize("spec", ["auto", "detect"])
@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_malicious_version_file(site, two, text, spec):
    """scenario 30: refused with the file's name; neither the system's ruby nor one above instead."""
    (site.folder / ".ruby-version").write_text("3.1.10\n")
    file = ask(site, text)
    said = site.refused(*(("--ruby", "auto") if spec == "auto" else ()), "--", "touch", "ran")
    assert str(file) in said and "\x1b" not in said
    assert not (site.app / "ran").exists() and not (site.app / "pwn").exists()


KINDS = {
    "FIFO": os.mkfifo, "directory": os.mkdir, "loop": lambda path: os.symlink(path, path),
    "dangling": lambda path: os.symlink("/nowhere", path),
    "device": lambda path: os.symlink("/dev/zero", path),
}  # fmt: skip
FILES = [
    ".ruby-version", ".tool-versions", ".versions.conf", ".ruby-gemset",
    "mise.toml",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_version_file_of_another_kind(site, two, kind, name):
    """scenario 30: a FIFO does not hang, and what cannot be read is not passed over."""
    if name == ".ruby-gemset":
        ask(site, "3.1.2")
    KINDS[kind](site.app / name)
    assert str(site.app / name) in site.refused("--", "true")


def test_unreadable_version_file(site):
    """scenario 30: one that this user may not read is an error."""
    os.chmod(site.folder, 0o755)
    ask(site, "3.1.2").chmod(0o600)
    result = site.run(*as_nobody(site.program, "--", "true"))
    assert result.returncode == 125 and f"{site.app}/.ruby-version" in result.stderr


def test_version_file_that_names_system(site, two):
    """The system's interpreter is taken when it is asked for."""
    ask(site, "system")
    assert site.chosen("ruby") == ("the system's", f"{site.app}/.ruby-version:1")


def test_never_system_without_a_version_file(site):
    """scenario 30: "auto" means some version."""
    assert "no version file" in site.refused("--ruby", "auto", "--", "true")


def test_nearest_folder_counts(site, two):
    (site.folder / ".ruby-version").write_text("3.1.10\n")
    ask(site, "ruby 3.1.2", ".tool-versions")
    assert site.chosen("ruby") == (str(two / "3.1.2"), f"{site.app}/.tool-versions:1")


def test_order_within_a_folder(site, two):
    files = [("Gemfile", 'ruby "3.1.2"'), (".versions.conf", "ruby=3.1.10"), (".tool-versions", "ruby 3.1.2"),
             ("mise.toml", '[tools]\nruby = "3.1.10"'), (".ruby-version", "3.1.2")]  # fmt: skip
    for name, text in files:
        path = ask(site, text) if name == ".ruby-version" else ask(site, text, name)
        chosen, reason = site.chosen("ruby")
        assert reason.startswith(f"{path}:"), chosen
        assert chosen == str(two / ("3.1.10" if "3.1.10" in text else "3.1.2"))
