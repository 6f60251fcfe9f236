"""What the supervisors' examples have in common."""

import re

import pytest

from conftest import needs
from support.supervisors import EXAMPLES

SUPERVISORS = ("runit", "s6", "supervisord", "systemd", "upstart")


def test_unicorn_configuration_is_the_same_everywhere():
    assert len({(EXAMPLES / name / "unicorn.rb").read_text() for name in SUPERVISORS}) == 1


@pytest.mark.parametrize("name", SUPERVISORS)
def test_readme_names_every_file(name):
    files = [path.name for path in (EXAMPLES / name).iterdir()]
    readme = (EXAMPLES / name / "README.md").read_text()
    assert [file for file in files if f"`{file}`" not in readme and file != "README.md"] == []


def test_readme_names_every_file_of_the_herds():
    files = [path.relative_to(EXAMPLES / "herd") for path in (EXAMPLES / "herd").rglob("*") if path.is_file()]
    readme = (EXAMPLES / "herd" / "README.md").read_text()
    assert [str(file) for file in files if f"`{file}`" not in readme and file.name != "README.md"] == []


def test_supervisors_are_more_patient_than_the_herd():
    """Its own limit for a stop is 60 s; one that is killed before leaves the server behind."""
    limits = {
        "systemd/app.service": r"TimeoutStopSec=(\d+)",
        "systemd/herd@.service": r"TimeoutStopSec=(\d+)",
        "s6/timeout-kill": r"(\d+)000$",
        "supervisord/app.conf": r"stopwaitsecs=(\d+)",
        "upstart/app.conf": r"kill timeout (\d+)",
        "docker/Dockerfile": r"docker run .*--stop-timeout (\d+)",
        "README.md": r"sv -w (\d+) force-stop",
    }
    found = {
        name: re.findall(rf"^.*?{limit}", (EXAMPLES / "herd" / name).read_text(), re.M) for name, limit in limits.items()
    }
    assert {name: each for name, each in found.items() if not each or any(int(n) <= 60 for n in each)} == {}


@pytest.mark.parametrize("script", ["runit/run", "runit/finish", "s6/run", "s6/finish", "s6/data/check"])
def test_scripts_of_the_herds_pass_shellcheck(run, script):
    needs("shellcheck")
    done = run("shellcheck", "-s", "sh", EXAMPLES / "herd" / script)
    assert (done.returncode, done.stdout) == (0, "")
