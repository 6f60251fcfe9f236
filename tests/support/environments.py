"""Environments for drover-exec: installed "versions", and what version managers leave behind."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

RUBY = pathlib.Path("/usr/bin/ruby").resolve()
PYTHON = pathlib.Path("/usr/bin/python3").resolve()
NODE = pathlib.Path(shutil.which("node") or "/usr/bin/true").resolve()
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
        options.setdefault("text", True)
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            [word if isinstance(word, bytes) else str(word) for word in command],
            env=self.clean if env is None else env, cwd=cwd or self.app, capture_output=True,
            timeout=60, **options,
        )  # fmt: skip

    @property
    def program(self):
        return shutil.which("drover-exec", path=self.run_command.__self__.environment["PATH"])

    def drover_exec(self, *words, env=None, **options):
        return self.run(self.program, *words, env=env, **options)

    def steps(self, kind, *words, **options):
        """The decisions of one kind, as (subject, text, reason)."""
        result = self.drover_exec("--explain", "--json", *words, **options)
        assert result.returncode == 0, result.stderr
        steps = json.loads(result.stdout)["steps"]
        return [(step["subject"], step["text"], step["reason"]) for step in steps if step["kind"] == kind]

    def chosen(self, language, spec="auto", **options):
        """The folder, or "the system's", and what asked for it."""
        found = self.steps("chosen", f"--{language}", spec, "--", "true", **options)
        return next(((text, reason) for subject, text, reason in found if subject == language), None)

    def refused(self, *words, code=125, **options):
        """What drover-exec says, in the form of the toolkit, when it refuses."""
        result = self.drover_exec(*words, **options)
        assert (result.returncode, result.stdout) == (code, ""), (result.stdout, result.stderr)
        assert result.stderr.startswith("drover-exec: "), result.stderr
        assert len(result.stderr.splitlines()) <= 2, result.stderr
        return result.stderr

    def environment_of(self, *words, env=None, **options):
        """The environment that drover-exec gives to a command."""
        result = self.drover_exec(*words, "env", "-0", env=env, **options)
        assert result.returncode == 0, result.stderr
        return {name: value for name, value in parse(result.stdout).items()
                if name not in SHELL_OWN and name != "DROVER_DEPTH"}  # fmt: skip

    def wrapper(self, body, tail="", name="bin/server", app=None):
        path = (app or self.app) / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(f"#!{self.program}\n{body}\n{tail}")
        path.chmod(0o755)
        return path


@pytest.fixture
def site(run, folder):
    return Site(run, folder)


def environment_but(pid, *of_the_moment):
    """The entries of a process's environment, but for those that begin like these and are others each time."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        entries = file.read().split(b"\0")
    return [entry for entry in entries if entry and not entry.startswith((b"DROVER_DEPTH=", *of_the_moment))]


def deploy_generations(server):
    """Releases 2 to 50, whose rubies alternate, each made when the one before is deleted: (number, ruby)."""
    for generation in range(2, 51):
        old = server.current.resolve()
        ruby = "3.1.10" if generation % 2 == 0 else "3.1.2"
        server.release(str(generation), ruby)
        shutil.rmtree(old)
        yield generation, ruby


class Releases:
    """Capistrano's tree: releases, and the link `current` to one of them."""

    def __init__(self, folder):
        self.folder = folder
        self.current = folder / "current"
        self.shared = folder / "shared"
        self.shared.mkdir()

    def add(self, name, files):
        """A new release of these texts, by their paths; what is in bin/ can be executed. It becomes the
        current one."""
        release = self.folder / "releases" / name
        for path, text in files.items():
            file = release / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755 if file.parent.name == "bin" else 0o644)
        link = self.folder / "next"
        link.symlink_to(release)
        link.rename(self.current)
        return release
