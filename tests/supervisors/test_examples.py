"""What the supervisors' examples have in common."""

import pytest

from support.supervisors import EXAMPLES

SUPERVISORS = ("runit", "s6", "supervisord", "systemd", "upstart")


def test_unicorn_configuration_is_the_same_everywhere():
    assert len({(EXAMPLES / name / "unicorn.rb").read_text() for name in SUPERVISORS}) == 1


@pytest.mark.parametrize("name", SUPERVISORS)
def test_readme_names_every_file(name):
    files = [path.name for path in (EXAMPLES / name).iterdir()]
    readme = (EXAMPLES / name / "README.md").read_text()
    assert [file for file in files if f"`{file}`" not in readme and file != "README.md"] == []
