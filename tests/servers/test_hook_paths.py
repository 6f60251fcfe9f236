"""A server without a pidfile in its configuration: the hook would make a lock that nobody watches."""

import os

import pytest

from conftest import ROOT

RUBY = ("ruby", "-e", f'require "{ROOT}/lib/hooks/drover"; Drover.hold(ARGV[0])')
PYTHON = ("/usr/bin/python3", "-c",
          f'import sys; sys.path.insert(0, "{ROOT}/lib/hooks"); import drover; drover.hold(sys.argv[1])')  # fmt: skip


@pytest.mark.parametrize("program", [RUBY, PYTHON], ids=["ruby", "python"])
@pytest.mark.parametrize("path", [".lock", "/run/.lock"])
def test_lock_without_a_name(run, folder, program, path):
    result = run(*program, path, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert result.returncode != 0
    assert f"'{path}' has no name" in result.stderr
    assert os.listdir(folder) == [] and not os.path.exists(path)
