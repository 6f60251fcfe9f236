"""What every supervisor's example must do, each supervisor in its own way.

A test class names its `service` fixture: an object with
  site                   the Site on which the example was installed
  boot()                 starts the supervisor; the service is wanted up
  main_pid()             the pid of the service's main process, None while there is none
  reload() start()       what an administrator types
  stop()                 the same; returns when the supervisor says that the service is down
  failed_with(status)    whether the supervisor has seen the service fail with this exit status
  stopping()             whether the supervisor knows that the service is to be down
  impatient()            before boot(): a stop may take one second, then the supervisor uses KILL
"""

import http.client
import os
import signal

import pytest

from support.processes import alive, holders, in_flock, parent
from support.supervisors import Background, Clients


def up(service, release="1"):
    """Boots and waits until the main process waits for the server and its two workers. Returns the
    main process's pid."""
    service.boot()
    service.site.serving(release)
    service.site.eventually(lambda: len(holders(service.site.lock)) == 3, "both workers")
    return waiting(service)


def waiting(service):
    """Waits until the main process is drover-wait at its wait. Returns its pid."""
    return service.site.eventually(
        lambda: (pid := service.main_pid()) and in_flock(pid) and pid, "the main process to wait"
    )


def kill_all(pids):
    """The master first, which would replace a worker."""
    for pid in sorted(pids, key=lambda pid: parent(pid) in pids):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def nothing_left(service):
    return holders(service.site.lock) == set() and service.site.refused()


class StopsAndStarts:
    """Whichever program is the main process."""

    def test_stop_answers_the_request_in_flight(self, service):
        site = service.site
        up(service)
        request, writer = site.slow_request()
        stop = Background(service.stop)
        site.eventually(lambda: "passed SIGQUIT" in site.log(), "the stop to reach the server")
        assert stop.is_alive()
        site.let_go("slow", writer)
        assert request.join()
        stop.join()
        assert nothing_left(service)
        assert service.main_pid() is None

    def test_starts_again_after_a_stop(self, service):
        site = service.site
        main = up(service)
        service.stop()
        assert nothing_left(service)
        site.release("2")
        service.start()
        site.serving("2")
        assert waiting(service) != main

    def test_crash_is_seen_and_repaired(self, service):
        """S9: every process of the server is killed at once."""
        site = service.site
        main = up(service)
        site.release("2")
        kill_all(holders(site.lock))
        site.eventually(lambda: not alive(main), "the main process to end")
        site.serving("2")
        assert waiting(service) != main


class Scenarios(StopsAndStarts):
    def test_one_main_process_over_three_reloads(self, service):
        """S2: no request fails, each old master goes, the supervisor sees one process."""
        site = service.site
        main = up(service)
        masters = [site.serving()]
        with Clients(site) as clients:
            for release in ("2", "3", "4"):
                old = holders(site.lock)
                site.release(release)
                service.reload()
                masters.append(site.serving(release))
                site.eventually(lambda: not any(alive(pid) for pid in old), "the old master's end")
                assert service.main_pid() == main and in_flock(main)
        assert clients.failures == []
        assert clients.answered > 0
        assert len(set(masters)) == 4

    def test_reload_of_a_broken_release_changes_nothing(self, service):
        site = service.site
        main = up(service)
        master = site.serving()
        site.break_release()
        service.reload()
        site.eventually(lambda: "this release is broken" in site.log(), "the reload to fail")
        site.mend_release()
        site.eventually(lambda: "reaped #<Process::Status" in site.log(), "the old master to see it")
        assert site.serving() == master
        assert service.main_pid() == main and in_flock(main)

    def test_killed_master_is_replaced_after_its_last_worker(self, service):
        """S7: not while a worker answers a request still, and then once."""
        site = service.site
        main = up(service)
        held = holders(site.lock)
        (master,) = (pid for pid in held if parent(pid) not in held)
        request, writer = site.slow_request()
        site.release("2")
        os.kill(master, signal.SIGKILL)
        site.eventually(lambda: "is gone; processes that still hold" in site.log(), "a word about it")
        assert request.goes_on(1), "a worker is still to answer it"
        assert service.main_pid() == main and in_flock(main)
        assert site.boots() == 1
        assert not site.refused()
        site.let_go("slow", writer)
        assert request.join()[1] == "1"
        site.serving("2")
        assert not any(map(alive, held))
        assert waiting(service) != main
        assert site.boots() == 2
        assert "already in use" not in site.log()

    def test_server_outlives_its_waiter(self, service):
        """The main process alone is killed; the next one takes the running server over."""
        site = service.site
        main = up(service)
        master = site.serving()
        held = holders(site.lock)
        with Clients(site) as clients:
            os.kill(main, signal.SIGKILL)
            site.eventually(lambda: service.main_pid() not in (main, None), "a new main process")
            assert waiting(service) != main
        assert clients.failures == []
        assert site.serving() == master
        assert holders(site.lock) == held
        service.stop()
        assert nothing_left(service)

    def test_boot_failure_is_seen(self, service):
        site = service.site
        site.break_release()
        service.boot()
        site.eventually(lambda: service.failed_with(1), "the supervisor to see the failure")
        service.stop()
        # "unicorn -D" ends when its master gives up, which may be a little before that has gone.
        site.eventually(lambda: nothing_left(service), "the failed master to go")

    def test_stop_while_the_server_boots(self, service):
        site = service.site
        site.hold_up("boot")
        boot = Background(service.boot)
        writer = site.held_up("boot")
        stop = Background(service.stop)
        site.eventually(service.stopping, "the supervisor to know")
        site.let_go("boot", writer)
        stop.join()
        boot.join()
        assert nothing_left(service)

    def test_stop_just_before_the_server_takes_its_lock(self, service):
        site = service.site
        site.hold_up_program("drover-hold")
        boot = Background(service.boot)
        writer = site.held_up("drover-hold")
        stop = Background(service.stop)
        site.eventually(service.stopping, "the supervisor to know")
        assert stop.goes_on(1), "stopped, and yet a server is to come"
        site.let_go("drover-hold", writer)
        stop.join()
        boot.join()
        assert nothing_left(service)


class StopIsTheEnd:
    """For a supervisor that runs something after its KILL."""

    def test_stop_ends_a_server_that_does_not_obey(self, service):
        site = service.site
        service.impatient()
        up(service)
        request, writer = site.slow_request()
        service.stop()
        assert nothing_left(service)
        with pytest.raises((OSError, http.client.HTTPException)):
            request.join()
        writer.close()


class HeldByTheSupervisor:
    """For a service whose boot() takes a prefix for the supervisor's command."""

    def test_lock_held_by_the_supervisor_is_refused(self, service):
        """S19: the supervisor itself was started under drover-hold, by mistake."""
        site = service.site
        service.boot(under=("drover-hold", site.lock))
        site.eventually(lambda: service.failed_with(125), "drover-hold to refuse")
        assert "this process inherited a lock of it" in site.log()
        assert site.refused()

    def test_lock_held_by_the_supervisor_unawares_is_refused(self, service):
        """S19: the same, and the environment that tells of it was lost on the way: the descriptor tells."""
        site = service.site
        forget = ("env", "-u", "DROVER_LOCK", "-u", "DROVER_LOCK_FD")
        service.boot(under=("drover-hold", site.lock, *forget))
        site.eventually(lambda: service.failed_with(125), "drover-hold to refuse")
        assert "this process inherited a lock of it" in site.log()
        assert site.refused()
