"""drover-wait --relay over a hot reload: the master changes, the wait goes on."""

import os
import signal

from support.flocks import end, still_blocked
from support.processes import alive, eventually, has_pidfd_of, holders
from support.relays import pidfile, relay, serve  # noqa: F401


def successor_of(server, pidfile):
    """The number that the new master has written, once it is ready."""
    eventually(lambda: server.signals(".2") is not None, "the new master")
    number = int(pidfile.read_text())
    assert number != server.process.pid
    return number


def test_signals_go_to_the_new_master(serve, relay, pidfile):
    server, waiter = serve("SIGUSR2=successor"), relay()
    waiter.send(signal.SIGUSR2)
    new = successor_of(server, pidfile)
    waiter.send(signal.SIGHUP)
    server.gets("SIGHUP", suffix=".2")
    waiter.says("SIGHUP", f"master {new}")
    assert server.signals() == ["SIGUSR2"]
    os.kill(new, signal.SIGKILL)
    end(server.process)
    assert waiter.finish()[0] == 0


def test_stop_during_a_reload_goes_to_both(serve, relay, pidfile):
    server, waiter = serve("SIGUSR2=successor", "SIGQUIT=exit0"), relay("--stop-signal", "QUIT")
    waiter.send(signal.SIGUSR2)
    successor_of(server, pidfile)
    waiter.send(signal.SIGTERM)
    assert waiter.finish()[0] == 0
    assert server.signals() == ["SIGUSR2", "SIGQUIT"]
    assert server.signals(".2") == ["SIGQUIT"]
    server.process.wait()


def test_old_master_gone_new_one_served(serve, relay, pidfile):
    server, waiter = serve("SIGUSR2=successor"), relay()
    waiter.send(signal.SIGUSR2)
    new = successor_of(server, pidfile)
    end(server.process)
    assert still_blocked(waiter.process)
    waiter.send(signal.SIGUSR1)
    server.gets("SIGUSR1", suffix=".2")
    os.kill(new, signal.SIGKILL)
    assert waiter.finish()[0] == 0


def test_pidfile_away_for_a_moment(serve, relay, pidfile):
    """as in every reload of unicorn: the master that was verified last gets the signal"""
    server, waiter = serve(), relay()
    waiter.send(signal.SIGHUP)
    server.gets("SIGHUP")
    pidfile.unlink()
    waiter.send(signal.SIGUSR1)
    server.gets("SIGUSR1")
    end(server.process)
    assert waiter.finish()[0] == 0


def test_pidfile_renamed_to_oldbin(serve, relay, pidfile):
    """unicorn, nginx: HUP to the new master only, stop signals to both"""
    old, waiter = serve("SIGQUIT=exit0"), relay()
    os.rename(pidfile, f"{pidfile}.oldbin")
    new = serve("SIGQUIT=exit0", name="new")
    waiter.send(signal.SIGHUP)
    new.gets("SIGHUP")
    waiter.send(signal.SIGQUIT)
    assert waiter.finish()[0] == 0
    assert (old.signals(), new.signals()) == (["SIGQUIT"], ["SIGHUP", "SIGQUIT"])
    old.process.wait(), new.process.wait()


def test_master_that_dropped_the_lock(serve, relay):
    """alive, not holding: cause and cure are named, and the wait goes on by the pidfd"""
    server, waiter = serve("SIGUSR2=drop", "SIGTERM=exit0"), relay()
    waiter.send(signal.SIGUSR2)
    line = waiter.says("is free, but its master")
    assert str(server.process.pid) in line and "closed the lock's descriptor" in line
    hint = waiter.says("hint:")
    assert "--fd high" in hint and "--guard" in hint and "drover.rb" in hint
    assert waiter.process.poll() is None
    waiter.send(signal.SIGHUP)
    server.gets("SIGHUP")
    waiter.send(signal.SIGTERM)
    assert waiter.finish()[0] == 0
    assert server.signals() == ["SIGUSR2", "SIGHUP", "SIGTERM"]
    server.process.wait()


def test_successor_without_the_lock(serve, relay, pidfile):
    """a child of a verified master is a master, although the reload has closed its descriptor"""
    server, waiter = serve("SIGUSR2=lockless", "SIGTERM=exit0"), relay()
    waiter.send(signal.SIGUSR2)
    new = successor_of(server, pidfile)
    waiter.send(signal.SIGHUP)
    server.gets("SIGHUP", suffix=".2")
    end(server.process)
    assert str(new) in waiter.says("is free, but its master")
    assert not holders(f"{pidfile}.lock") and alive(new)
    waiter.send(signal.SIGUSR1)
    server.gets("SIGHUP", "SIGUSR1", suffix=".2")
    waiter.send(signal.SIGTERM)
    assert waiter.finish()[0] == 0
    assert not alive(new)


def test_successor_without_the_lock_is_learned_without_a_signal(serve, relay, pidfile):
    """The pidfile changes while the old master lives: that is when the new one can be verified."""
    server, waiter = serve("SIGUSR2=lockless"), relay()
    server.process.send_signal(signal.SIGUSR2)
    new = successor_of(server, pidfile)
    eventually(lambda: has_pidfd_of(waiter.process.pid, new), "the relay to have verified it")
    end(server.process)
    assert str(new) in waiter.says("is free, but its master")
    os.kill(new, signal.SIGKILL)
    assert waiter.finish()[0] == 0


def test_workers_that_outlive_the_master_are_waited_for(serve, relay, pidfile):
    server = serve("SIGUSR2=successor")
    server.process.send_signal(signal.SIGUSR2)
    worker = successor_of(server, pidfile)
    pidfile.write_text(f"{server.process.pid}\n")
    waiter = relay()
    end(server.process)
    assert still_blocked(waiter.process)
    os.kill(worker, signal.SIGKILL)
    assert waiter.finish()[0] == 0
