"""drover-exec refuses what other users could change: the wrapper, the way to it, env files, scripts and
interpreters. As root, and as a user with setpriv."""

import os
import shutil

import pytest

from conftest import needs
from support.environments import PYTHON, install, site  # noqa: F401
from support.flocks import IN_SANITIZER_BUILD, as_nobody

NOBODY = 65534
STRANGER = 54321

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make files of other users")


@pytest.fixture
def parts(site):
    """A wrapper that uses a file of each kind, and the paths of all of them."""
    ruby = install(site.app / "ruby")
    (site.app / "Gemfile").write_text("")
    for name in ("env", "script"):
        (site.app / name).write_text("A=1\n" if name == "env" else "export B=1\n")
    (site.app / "envdir").mkdir()
    (site.app / "envdir/C").write_text("1\n")
    wrapper = site.wrapper(
        f'ruby = "{ruby}"\nbundle = "none"\nenv_file = "env"\nsource = "script"\nenv_dir = "envdir"\n'
        'command = ["echo", "ran"]'
    )
    return {"wrapper": wrapper, "its folder": wrapper.parent, "application": site.app,
            "env file": site.app / "env",
            "script": site.app / "script", "env folder": site.app / "envdir",
            "file of it": site.app / "envdir/C",
            "ruby's folder": ruby / "bin", "ruby's parent": ruby}  # fmt: skip


PARTS = ["wrapper", "its folder", "application", "env file", "script", "env folder", "ruby's folder",
         "ruby's parent",
         "file of it"]  # fmt: skip


def test_all_of_root_is_fine(site, parts):
    result = site.run(parts["wrapper"])
    assert (result.stdout, result.stderr) == ("ran\n", "")
    assert site.drover_exec("--check", parts["wrapper"]).stderr == ""


@pytest.mark.parametrize("part", PARTS)
def test_everybody_may_write(site, parts, part):
    """scenario 33: refused, with the path and what to do."""
    os.chmod(parts[part], os.stat(parts[part]).st_mode | 0o002)
    said = site.refused(parts["wrapper"])
    assert f"cannot trust '{parts[part]}': everybody may write to it" in said and "chmod o-w" in said
    assert site.drover_exec("--check", parts["wrapper"]).returncode == 77


def test_configuration_of_a_virtual_environment(site):
    """It says where python finds its library."""
    prefix = install(site.app / "venv", interpreter=PYTHON)
    (prefix / "pyvenv.cfg").write_text("")
    path = site.wrapper('python = "venv:venv"\ncommand = ["true"]')
    assert site.run(path).returncode == 0
    os.chmod(prefix / "pyvenv.cfg", 0o666)
    assert f"cannot trust '{prefix}/pyvenv.cfg': everybody may write to it" in site.refused(path)


EVERYBODYS = {
    "script in a bundle": 'ruby = "system"\nbundle = "setup"\ncommand = ["open/srv"]',
    "script of a ruby": 'ruby = "/usr"\nbundle = "none"\ncommand = ["open/srv"]',
    "unicorn": 'ruby = "system"\nbundle = "none"\ncommand = ["unicorn"]\n[path]\nprepend = ["open"]',
    "bundle": 'ruby = "system"\nbundle = "exec"\ncommand = ["true"]\n[path]\nprepend = ["open"]',
    "python": 'python = "system"\ncommand = ["true"]\n[path]\nprepend = ["open"]',
}  # fmt: skip


@pytest.mark.parametrize("body", EVERYBODYS.values(), ids=EVERYBODYS.keys())
def test_program_that_an_interpreter_loads(site, body):
    """scenario 33: it is as much what runs as the interpreter is."""
    (site.app / "Gemfile").write_text("")
    (site.app / "open").mkdir()
    for name in ("srv", "unicorn", "bundle", "python3"):
        (site.app / "open" / name).write_text("#!/usr/bin/ruby\n")
        (site.app / "open" / name).chmod(0o777)
    assert f"cannot trust '{site.app}/open/" in site.refused(site.wrapper(body))


def test_imported_script(site):
    path = site.app / "script"
    path.write_text("touch ran\n")
    path.chmod(0o666)
    assert "everybody may write" in site.refused("--import", path, code=77)
    assert not (site.app / "ran").exists()
    assert site.drover_exec("--insecure-paths", "--import", path).returncode == 0


def test_each_path_is_named_once(site):
    """In a tree that a group may write to, one line for each folder and no more."""
    site.rbenv("3.1.2")
    (site.app / "Gemfile").write_text("")
    (site.app / "env").write_text("A=1\n")
    path = site.wrapper('ruby = "3.1.2"\nbundle = "none"\nenv_file = "env"\ncommand = ["true"]')
    for part in (site.app, path.parent):
        os.chown(part, -1, NOBODY)
        part.chmod(0o775)
    lines = site.run(path).stderr.splitlines()
    assert len(lines) == len(set(lines)) == 2, lines


@pytest.mark.parametrize("part", PARTS)
def test_another_owner(site, parts, part):
    """scenario 33: for root, all of it has to belong to root."""
    os.chown(parts[part], NOBODY, NOBODY)
    said = site.refused(parts["wrapper"])
    assert f"'{parts[part]}'" in said and "belongs to nobody" in said
    os.chown(parts[part], STRANGER, 0)
    assert str(STRANGER) in site.refused(parts["wrapper"])


@pytest.mark.parametrize("part", ["wrapper", "application", "env file", "ruby's folder"])
def test_group_may_write(site, parts, part):
    """scenario 33: only a warning: deployment tools make such trees."""
    os.chown(parts[part], 0, NOBODY)
    os.chmod(parts[part], os.stat(parts[part]).st_mode | 0o020)
    assert site.run(parts["wrapper"]).stdout == "ran\n"
    checked = site.drover_exec("--check", parts["wrapper"])
    assert checked.returncode == 0 and f"'{parts[part]}': its group may write to it" in checked.stderr


@pytest.mark.parametrize("part", ["its folder", "application", "ruby's parent"])
def test_sticky_folder_on_the_way(site, parts, part):
    """scenario 33: as /tmp, it is fine for what is in it."""
    os.chmod(parts[part], 0o1777)
    assert site.run(parts["wrapper"]).stdout == "ran\n"


def test_sticky_env_folder(site, parts):
    """scenario 33: in a sticky folder everybody can make files; as env_dir each is a variable."""
    os.chmod(parts["env folder"], 0o1777)
    assert "everybody may write" in site.refused(parts["wrapper"])


def test_stranger_in_a_sticky_folder(site, parts):
    """scenario 33: what somebody else made there is not trusted."""
    os.chmod(parts["ruby's parent"], 0o1777)
    os.chown(parts["ruby's folder"], STRANGER, 0)
    assert str(parts["ruby's folder"]) in site.refused(parts["wrapper"])


def test_version_that_is_a_link_into_a_world_writable_place(site):
    """scenario 32"""
    root = site.rbenv()
    (root / "versions").mkdir(parents=True)
    shared = site.folder / "shared"
    install(shared / "3.1.2")
    (root / "versions/3.1.2").symlink_to(shared / "3.1.2")
    words = ("--ruby", "3.1.2", "--", "echo", "ran")
    assert site.drover_exec(*words).stdout == "ran\n"
    os.chmod(shared, 0o777)
    assert f"cannot trust '{shared}'" in site.refused(*words)
    os.chmod(shared, 0o755)
    os.chmod(shared / "3.1.2/bin", 0o777)
    assert f"cannot trust '{shared}/3.1.2/bin'" in site.refused(*words)


def test_link_of_a_stranger(site):
    """scenario 32: who owns a link decides where it leads."""
    root = site.rbenv("3.1.2")
    (root / "versions/3.2.0").symlink_to(root / "versions/3.1.2")
    os.chown(root / "versions/3.2.0", STRANGER, 0, follow_symlinks=False)
    assert str(STRANGER) in site.refused("--ruby", "3.2.0", "--", "true")


def test_link_to_the_wrapper(site, parts):
    """scenario 33: both the link's way and the file's."""
    for place in ("there", "here"):
        (site.folder / place / "bin").mkdir(parents=True)
    real = shutil.copy(parts["wrapper"], site.folder / "there/bin/real")
    text = "".join(line for line in open(real) if line[:3] in ("#!/", "com"))
    open(real, "w").write(text)
    link = site.folder / "here/bin/server"
    link.symlink_to(real)
    assert site.run(link).stdout == "ran\n"
    for place in ("there", "here"):
        os.chmod(site.folder / place, 0o777)
        assert f"cannot trust '{site.folder}/{place}'" in site.refused(link)
        os.chmod(site.folder / place, 0o755)


def test_insecure_paths(site, parts):
    """The wrapper may allow it for everything but itself."""
    for part in ("env file", "script", "ruby's folder"):
        os.chmod(parts[part], 0o777)
    body = parts["wrapper"].read_text()
    parts["wrapper"].write_text(body + "\ninsecure_paths = true\n")
    assert site.run(parts["wrapper"]).stdout == "ran\n"
    parts["wrapper"].write_text(body)
    assert site.drover_exec("--insecure-paths", parts["wrapper"]).stdout == "ran\n"
    os.chmod(parts["wrapper"], 0o777)
    assert "everybody may write" in site.refused("--insecure-paths", parts["wrapper"])


def give(path, user):
    for folder, _, files in os.walk(path):
        for name in [folder, *(os.path.join(folder, file) for file in files)]:
            os.chown(name, user, user, follow_symlinks=False)


def test_user_with_his_own_and_roots_files(site, parts):
    """scenario 33: a user trusts himself and root, and nobody else."""
    needs("setpriv")
    os.chmod(site.folder, 0o755)
    assert site.run(*as_nobody(parts["wrapper"])).stdout == "ran\n"
    give(site.app, NOBODY)
    assert site.run(*as_nobody(parts["wrapper"])).stdout == "ran\n"
    for part in ("wrapper", "env file", "script"):
        os.chown(parts[part], STRANGER, NOBODY)
        result = site.run(*as_nobody(parts["wrapper"]))
        assert result.returncode == 125 and f"'{parts[part]}': it belongs to {STRANGER}" in result.stderr
        os.chown(parts[part], NOBODY, NOBODY)


def test_file_that_he_may_not_read(site, parts):
    needs("setpriv")
    os.chmod(site.folder, 0o755)
    os.chmod(parts["env file"], 0o600)
    result = site.run(*as_nobody(parts["wrapper"]))
    assert result.returncode == 125 and str(parts["env file"]) in result.stderr
    assert site.run(*as_nobody(site.program, "--check", parts["wrapper"])).returncode == 77


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="the leak check cannot trace a program with such rights")
@pytest.mark.parametrize("kind", ["setuid", "setgid"])
def test_setuid_copy_refuses(site, kind):
    """scenario 41: its caller would decide what root executes."""
    needs("setpriv")
    os.chmod(site.folder, 0o755)
    copy = shutil.copy(site.program, site.folder / "copy")
    os.chmod(copy, 0o4755 if kind == "setuid" else 0o2755)
    result = site.run(*as_nobody(copy, "--", "id", "-u"))
    assert result.returncode == 125 and result.stdout == ""
    assert "rights that its caller has not" in result.stderr
    os.chmod(copy, 0o755)
    assert site.run(*as_nobody(copy, "--", "id", "-u")).stdout == f"{NOBODY}\n"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["FIFO", "directory"])
def test_wrapper_of_another_kind(site, make):
    make(site.folder / "odd")
    assert "no regular file" in site.refused(site.folder / "odd")


@pytest.mark.parametrize("part, make",
                         [("env file", os.mkfifo), ("env file", os.mkdir), ("script", os.mkdir)])
def test_file_of_another_kind(site, parts, part, make):
    """A FIFO does not hang."""
    os.unlink(parts[part])
    make(parts[part])
    result = site.run(parts["wrapper"])
    assert (result.returncode, result.stdout) == (125,
                                                  "") and str(parts[part]) in result.stderr.splitlines()[-1]
