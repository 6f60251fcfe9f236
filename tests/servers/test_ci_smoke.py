"""examples/ci/smoke: what a CI job runs."""

import pytest

from conftest import ROOT, needs
from support.servers import can_bind, free_port

SMOKE = ROOT / "examples" / "ci" / "smoke"


@pytest.fixture
def smoke(run, folder):
    needs("curl")
    pidfile = folder / "app.pid"
    port = free_port()

    def go(*options, path="", env=None):
        return run(SMOKE, pidfile, f"http://127.0.0.1:{port}/{path}", "prefork", "--listen", f"127.0.0.1:{port}",
                   "--pidfile", pidfile, "--log", folder / "log", *options, env=env, timeout=120)

    go.port = port
    return go


@pytest.mark.parametrize("options", [(), ("--daemonize",)], ids=["foreground", "daemon"])
def test_good_server(smoke, options):
    result = smoke(*options)
    assert (result.returncode, result.stdout) == (0, "smoke: started, answered, stopped\n"), result.stderr
    assert "passed SIGQUIT to master" in result.stderr
    assert can_bind(smoke.port)


def test_bad_answer_fails_and_leaves_nothing(smoke):
    """An answer of 431, at once: curl's status, and the server is gone with the script."""
    result = smoke(path="x" * 9000)
    assert result.returncode == 22
    assert result.stdout == ""
    assert can_bind(smoke.port)


KILLING_CURL = """#!/bin/sh -e
/usr/bin/curl "$@"
kill -KILL $(drover-ls --pids app.pid.lock)
drover-wait app.pid.lock || [ $? = 66 ]
"""


def test_server_that_died_after_its_answer_fails(smoke, folder, processes):
    curl = folder / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text(KILLING_CURL)
    curl.chmod(0o755)
    result = smoke("--daemonize", env={"PATH": f"{curl.parent}:{processes.environment['PATH']}"})
    assert (result.returncode, result.stdout) == (1, ""), result.stderr


def test_script_passes_shellcheck(run):
    needs("shellcheck")
    result = run("shellcheck", SMOKE)
    assert (result.returncode, result.stdout) == (0, "")
