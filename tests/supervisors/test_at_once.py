"""A stop, or a reload, that comes at once after the start: before drover-wait can pass it on."""

import os
import signal

import pytest

from conftest import BUILD, needs
from support.booted_systemd import BootedSystemd
from support.processes import alive, holders
from support.supervisors import Background, Site
from support.supervisors_scenarios import nothing_left, waiting
from test_runit import Runit
from test_s6 import S6
from test_supervisord import Supervisord
from test_systemd import Systemd
from test_upstart import Upstart

SUPERVISORS = {
    "runit": (Runit, ("runsv", "sv")),
    "s6": (S6, ("s6-svscan", "s6-supervise", "s6-svc")),
    "supervisord": (Supervisord, ("supervisord", "supervisorctl")),
    "systemd": (Systemd, ("systemd", "systemctl", "nsenter", "unshare")),
    "upstart": (Upstart, ()),
}

# Runs what it stands for, and does not return before let_go().
LINGERING = """\
#!/bin/sh
( PATH=${{PATH#*:}}; exec {name} "$@" )
status=$?
[ ! -p {gate} ] || cat {gate}
exit $status
"""


def under_systemd(folder, processes):
    folder.chmod(0o755)
    with BootedSystemd(processes, folder, BUILD / "tools") as systemd:
        site = Site(folder)
        (folder / "log").chmod(0o777)
        site.install("systemd", {"/run/app": "/run/app"})
        site.run = systemd.path("/run/app")
        yield Systemd(site, systemd)


def under(name, folder, processes):
    if name == "systemd":
        yield from under_systemd(folder, processes)
        return
    site = Site(folder)
    processes.environment["PATH"] = f"{site.bin}:{processes.environment['PATH']}"
    site.install(name, {"startsecs=5": "startsecs=1"})
    service = SUPERVISORS[name][0](site, processes)
    yield service
    service.shutdown()


@pytest.fixture
def service(request, folder, processes):
    needs("unicorn", *SUPERVISORS[request.param][1])
    yield from under(request.param, folder, processes)


def each(*names):
    return pytest.mark.parametrize("service", names, indirect=True)


def boot_until(service, gate):
    """Boots; returns when the server answers and the start is held up at `gate`: what let_go() wants, and the boot."""
    boot = Background(service.boot)
    writer = service.site.held_up(gate)
    service.site.serving()
    return writer, boot


def linger(site):
    """From now on the start is held up when the server is up, and nobody waits for it yet."""
    site.hold_up("drover-hold")
    program = site.bin / "drover-hold"
    program.write_text(LINGERING.format(gate=site.app / "drover-hold", name="drover-hold"))
    program.chmod(0o755)


def stop_loses_no_request(service, gate):
    site = service.site
    held_up, boot = boot_until(service, gate)
    request, slow = site.slow_request()
    before = len(holders(site.lock))
    stop = Background(service.stop)
    site.eventually(service.stopping, "the supervisor to know")
    site.let_go(gate, held_up)
    site.eventually(lambda: len(holders(site.lock)) < before, "the idle worker to go")
    site.let_go("slow", slow)
    assert request.join()
    stop.join()
    boot.join()
    assert nothing_left(service)


def reload_does_not_kill(service, gate):
    site = service.site
    held_up, boot = boot_until(service, gate)
    main = site.eventually(service.main_pid, "the main process")
    os.kill(main, signal.SIGUSR2)
    site.let_go(gate, held_up)
    boot.join()
    assert waiting(service) == main
    site.serving()


@each(*SUPERVISORS)
def test_stop_when_the_server_has_just_booted(service):
    linger(service.site)
    stop_loses_no_request(service, "drover-hold")


# Under supervisord nothing runs after the main process has ended.
@each("runit", "s6", "systemd", "upstart")
def test_stop_before_drover_wait_takes_signals(service):
    service.site.hold_up_program("drover-wait")
    stop_loses_no_request(service, "drover-wait")


# upstart's reload goes to the main process, and there is none while the server boots.
@each("runit", "s6", "supervisord", "systemd")
def test_reload_when_the_server_has_just_booted(service):
    linger(service.site)
    reload_does_not_kill(service, "drover-hold")


@each(*SUPERVISORS)
def test_reload_before_drover_wait_takes_signals(service):
    service.site.hold_up_program("drover-wait")
    reload_does_not_kill(service, "drover-wait")


@each("runit", "s6")
def test_finish_gives_up_on_what_cannot_be_ended(service):
    """A process in an uninterruptible sleep: here "kill" does nothing."""
    site = service.site
    powerless = site.bin / "kill"
    powerless.write_text("#!/bin/sh\n")
    powerless.chmod(0o755)
    service.impatient()
    service.boot()
    site.serving()
    main = waiting(service)
    request, writer = site.slow_request()
    service.stop()
    assert not alive(main)
    assert "this cannot be ended" in site.log()
    assert str(max(holders(site.lock))) in site.log()
    site.let_go("slow", writer)
    assert request.join()
    site.eventually(lambda: nothing_left(service), "the server to go in the end")
