"""drover-exec and virtual environments: which python it is in the end."""

import subprocess

import pytest

from support.environments import PYTHON, install, parse, site  # noqa: F401


@pytest.mark.parametrize("name", [".venv", "venv"])
def test_virtual_environment(site, name):
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", site.app / name], check=True)
    found = site.environment_of("--python", "auto", "--")
    assert found["VIRTUAL_ENV"] == f"{site.app}/{name}"
    assert found["PATH"].startswith(f"{site.app}/{name}/bin:")
    prefix = site.drover_exec("--python", f"venv:{name}", "--", "python", "-c",
                              "import sys; print(sys.prefix)")
    assert prefix.stdout == f"{site.app}/{name}\n", prefix.stderr


def test_program_of_another_python(site):
    """A program of the system runs by the system's python, whatever virtual environment is chosen."""
    prefix = install(site.app / "venv", interpreter=PYTHON)
    (prefix / "pyvenv.cfg").write_text("")
    (site.app / "tool").write_text("#!/usr/bin/python3\n")
    (site.app / "own").write_text(f"#!{prefix}/bin/python\n")
    for name in ("tool", "own"):
        (site.app / name).chmod(0o755)
        path = site.wrapper(f'python = "venv:venv"\ncommand = ["./{name}"]')
        said = site.run(path).stderr
        assert ("it runs by '/usr/bin/python3'" in said) == (name == "tool"), said
        checked = site.drover_exec("--check", path)
        assert checked.returncode == (78 if name == "tool" else 0), checked.stderr


def python_of(folder, name="python"):
    """A prefix with the system's python under that name."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / name).symlink_to(PYTHON)
    return folder


@pytest.mark.parametrize("case", ["env", "another", "version"])
def test_further_ways_to_another_python(site, case):
    """By env(1), by a folder that is put in front, by a name that the environment does not have."""
    prefix = install(site.app / "venv", interpreter=PYTHON)
    (prefix / "pyvenv.cfg").write_text("")
    (site.app / "tool").write_text("#!/usr/bin/env -S /usr/bin/python3 -u\n")
    (site.app / "tool").chmod(0o755)
    other = python_of(site.folder / "other")
    command, more = {
        "env": ('["./tool"]', ""),
        "another": ('["python", "-V"]', f'[path]\nprepend = ["{other}/bin"]'),
        "version": (f'["{PYTHON.name}", "-V"]', ""),
    }[case]
    path = site.wrapper(f'python = "venv:venv"\ncommand = {command}\n{more}')
    assert "not the chosen python" in site.refused("--check", path, code=78)


def test_python_that_is_a_link(site):
    """Where there is no virtual environment the file counts, by whatever name."""
    prefix = python_of(site.folder / "prefix", "python3")
    (prefix / "bin/app").write_text("#!/usr/bin/python3\n")
    (prefix / "bin/app").chmod(0o755)
    path = site.wrapper(f'python = "{prefix}"\ncommand = ["app"]')
    checked = site.drover_exec("--check", path)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_virtual_environment_that_is_none(site):
    prefix = install(site.app / "venv", interpreter=PYTHON)
    path = site.wrapper('python = "venv:venv"\ncommand = ["true"]')
    assert "it has no pyvenv.cfg" in site.refused("--check", path, code=78)
    (prefix / "pyvenv.cfg").write_text("")
    assert site.run(path).returncode == 0
    prefix.rename(site.app / "gone")
    prefix.symlink_to(site.app / "nowhere")
    path = site.wrapper('python = "auto"\ncommand = ["true"]')
    assert "the link leads nowhere" in site.refused("--check", path, code=78)


def test_virtual_environment_that_is_a_link(site):
    """A switch of it means nothing for who runs."""
    prefix = install(site.folder / "venv-a", interpreter=PYTHON)
    (prefix / "pyvenv.cfg").write_text("")
    (site.app / ".venv").symlink_to(prefix)
    path = site.wrapper('python = "auto"\ncommand = ["printenv", "VIRTUAL_ENV"]')
    assert site.run(path).stdout == f"{prefix}\n"


def test_shims_of_pyenv(site):
    """They would choose again: those of its plugin, too. Where another language is chosen they stay."""
    root = site.home / ".pyenv"
    install(root / "versions/3.11.2", interpreter=PYTHON)
    shims = [f"{root}/shims", f"{root}/plugins/pyenv-virtualenv/shims"]
    inherited = {**site.clean, "PATH": ":".join([*shims, f"{root}/bin", site.clean["PATH"]])}
    for language, kept in (("python", []), ("ruby", shims)):
        version = "3.11.2" if language == "python" else "system"
        found = parse(site.drover_exec(f"--{language}", version, "--", "env", "-0", env=inherited).stdout)
        assert [part for part in found["PATH"].split(":") if "shims" in part] == kept
        assert f"{root}/bin" in found["PATH"].split(":")


def test_virtual_environment_of_pyenv(site):
    """pyenv-virtualenv's names are links in versions/."""
    root = site.home / ".pyenv/versions"
    install(root / "3.11.2/envs/mine", interpreter=PYTHON)
    (root / "mine").symlink_to(root / "3.11.2/envs/mine")
    (site.app / ".python-version").write_text("mine\n")
    assert site.chosen("python")[0] == str(root / "mine")
