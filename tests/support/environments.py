"""Environments for drover-exec: installed "versions", and what version managers leave behind."""

import os
import pathlib
import shutil
import subprocess

import pytest

RUBY = pathlib.Path("/usr/bin/ruby").resolve()
PYTHON = pathlib.Path("/usr/bin/python3").resolve()
SHELL_OWN = {"PWD", "OLDPWD", "SHLVL", "_"}


def parse(text):
    """What `env -0` printed."""
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


def install(prefix, *programs, interpreter=RUBY):
    """A folder that looks like an installed version: the system's interpreter, linked."""
    (prefix / "bin").mkdir(parents=True)
    name = "ruby" if interpreter == RUBY else "python" if interpreter == PYTHON else "node"
    (prefix / "bin" / name).symlink_to(interpreter)
    for program in programs:
        (prefix / "bin" / program).symlink_to(shutil.which(program))
    return prefix


class Site:
    """A home folder, an application with releases, and a clean environment."""

    def __init__(self, run, folder):
        self.run_command = run
        self.folder = folder
        self.home = folder / "home"
        self.app = folder / "app"
        self.home.mkdir()
        self.app.mkdir()
        self.clean = {
            "HOME": str(self.home),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "KEPT": "a value",
        }

    def rbenv(self, *versions, programs=()):
        root = self.home / ".rbenv"
        for version in versions:
            install(root / "versions" / version, *programs)
        return root

    def run(self, *command, env=None, cwd=None, **options):
        """Runs a command with exactly this environment."""
        return subprocess.run(
            [str(word) for word in command], env=self.clean if env is None else env,
            cwd=cwd or self.app, capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip

    def drover_exec(self, *words, env=None, **options):
        program = shutil.which("drover-exec", path=self.run_command.__self__.environment["PATH"])
        return self.run(program, *words, env=env, **options)

    def environment_of(self, *words, env=None, **options):
        """The environment that drover-exec gives to a command."""
        result = self.drover_exec(*words, "env", "-0", env=env, **options)
        assert result.returncode == 0, result.stderr
        return {name: value for name, value in parse(result.stdout).items()
                if name not in SHELL_OWN and name != "DROVER_DEPTH"}  # fmt: skip

    def wrapper(self, body, tail="", name="bin/server", app=None):
        path = (app or self.app) / name
        path.parent.mkdir(exist_ok=True, parents=True)
        program = shutil.which("drover-exec", path=self.run_command.__self__.environment["PATH"])
        path.write_text(f"#!{program}\n{body}\n{tail}")
        path.chmod(0o755)
        return path


@pytest.fixture
def site(run, folder):
    return Site(run, folder)
