"""What the examples of drover-herd must do, each supervisor in its own way.

A test class names its `service` fixture: an object as in supervisors_scenarios.py, made by
herd_site() and with HerdService. What a test of its own does to the server's files is a release.
"""

import os
import shutil
import types

from support.processes import alive, eventually, holders
from support.servers import READY, Load
from support.supervisors import EXAMPLES, Background, Site
from support.supervisors_scenarios import StopsAndStarts, nothing_left, up, waiting


def herd_site(folder, supervisor, edits=None):
    """A site with examples/herd/SUPERVISOR and its unicorn.rb. The server runs as www-data."""
    folder.chmod(0o755)
    site = Site(folder)
    (folder / "log").chmod(0o777)
    shutil.chown(site.run, "www-data")
    site.install(f"herd/{supervisor}", edits)
    places = {
        "/srv/app": site.app,
        "/run/app": (edits or {}).get("/run/app", site.run),
        "127.0.0.1:8080": f"127.0.0.1:{site.port}",
    }
    text = (EXAMPLES / "herd" / "unicorn.rb").read_text()
    for there, here in places.items():
        text = text.replace(there, str(here))
    (site.etc / "unicorn.rb").write_text(text)
    return site


class HerdService:
    """For the driver of a supervisor, which has `site` and `_processes`."""

    def ctl(self, *words):
        """drover-ctl, as an administrator of the machine uses it."""
        socket = self.site.run / "unicorn.pid.sock"
        return self._processes.run("drover-ctl", "-s", socket, *words, timeout=READY)

    def impatient_herd(self):
        """Before boot(): drover-herd waits one second for a server that is to stop."""
        for path in self.site.etc.rglob("*"):
            if path.is_file():
                text = path.read_text()
                path.write_text(text.replace("--stop-signal QUIT", "--stop-signal QUIT --stop-timeout 1s"))

    def load(self):
        return Load(types.SimpleNamespace(processes=self._processes, port=self.site.port))


def no_failure(load):
    done, failed, words = load.finish()
    assert done > 0 and failed == 0, words


class HerdScenarios(StopsAndStarts):
    def test_one_pid_over_three_reloads_under_load(self, service):
        """H44: no request fails, each generation goes, the supervisor sees one process."""
        site = service.site
        main = up(service)
        load = service.load()
        for release in ("2", "3", "4"):
            old = holders(site.lock) - {main}  # which holds it, too, until the reload is done
            site.release(release)
            service.reload()
            site.serving(release)
            site.eventually(lambda: not any(alive(pid) for pid in old), "the old generation's end")
            assert service.main_pid() == main
        no_failure(load)

    def test_deploy_by_drover_ctl(self, service):
        """H49: it returns with the verdict, whoever supervises."""
        site = service.site
        main = up(service)
        master = site.serving()
        site.break_release()
        failed = service.ctl("reload")
        assert failed.returncode == 1
        assert "this release is broken" in failed.stdout + failed.stderr
        assert site.serving() == master
        site.mend_release()
        site.release("2")
        done = service.ctl("reload")
        assert done.returncode == 0, done.stderr
        assert site.get()[1] == "2"
        assert service.main_pid() == main

    def test_stop_ends_a_server_that_does_not_obey(self, service):
        """Within drover-herd's limit, which is shorter than the supervisor's; no orphan is left."""
        site = service.site
        service.impatient_herd()
        up(service)
        everybody = holders(site.lock)
        request, writer = site.slow_request()
        service.stop()
        assert "not stopped in 1 s: killing what is left" in site.log()
        assert nothing_left(service)
        assert not any(alive(pid) for pid in everybody)
        request.failed()
        writer.close()

    def test_server_outlives_its_herd(self, service):
        """H37: the next drover-herd takes it over, reloads it and stops it; no request fails."""
        site = service.site
        main = up(service)
        master = site.serving()
        held = holders(site.lock)
        load = service.load()
        os.kill(main, 9)
        site.eventually(lambda: service.main_pid() not in (main, None), "a new main process")
        assert waiting(service) != main
        assert site.serving() == master
        assert holders(site.lock) == held
        site.release("2")
        reload = service.ctl("reload")
        assert reload.returncode == 0, reload.stderr
        site.serving("2")
        no_failure(load)
        service.stop()
        assert nothing_left(service)

    def test_boot_failure_is_seen(self, service):
        site = service.site
        site.break_release()
        service.boot()
        site.eventually(lambda: service.failed_with(1), "the supervisor to see the failure")
        service.stop()
        assert nothing_left(service)

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


class FinishEndsIt:
    """For a supervisor that runs something after its KILL."""

    def test_stop_that_kills_the_herd_ends_the_server(self, service):
        site = service.site
        service.impatient()
        up(service)
        everybody = holders(site.lock)
        request, writer = site.slow_request()
        service.stop()
        eventually(lambda: nothing_left(service), "the server to go")
        assert not any(alive(pid) for pid in everybody)
        request.failed()
        writer.close()
