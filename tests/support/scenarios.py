"""What each server that replaces its master must pass, whichever it is."""

import os
import re
import signal

from support.processes import alive, eventually, holders, stat
from support.servers import READY, Load, Waiter, can_bind, living_children

ENOUGH = 20  # requests of our own to each generation, beside those of wrk


def three_reloads_under_load(server):
    """No failed request over three generations; drover-wait blocked throughout, with and without
    --relay; then kill -9 of everything is reported, though nobody reaps the dead (S9, S10)."""
    server.launch()
    waiters = [Waiter(server, server.lock), Waiter(server, "--relay", server.pidfile)]
    load = Load(server)
    for generation in range(3):
        before = server.everybody()
        server.hot_reload()
        after = server.everybody()
        assert not set(before) & set(after), f"reload {generation} left processes of the old master"
        assert holders(server.lock) >= set(after), f"reload {generation} lost the lock"
        assert [server.get() for _ in range(ENOUGH)] == [200] * ENOUGH
        assert all(waiter.waiting() for waiter in waiters), [waiter.said() for waiter in waiters]
    done, failed, words = load.finish()
    assert failed == 0, f"{failed} of {done} requests failed:\n{words}\n{server.log()}"
    assert done >= 3 * ENOUGH, words

    killed = server.kill_everything()
    assert [waiter.result() for waiter in waiters] == [0, 0], [waiter.said() for waiter in waiters]
    assert {(stat(pid) or [b"gone"])[0] for pid in killed} == {b"Z"}, "the dead were reaped: prove S10 anew"
    assert can_bind(server.port)


def relay_is_a_main_process(server, stop):
    """What a supervisor does with it: reload by USR2, stop by TERM, both to the relay alone."""
    server.launch()
    relay = Waiter(server, "--relay", server.pidfile, "--stop-signal", stop)
    old = server.master()
    relay.signal(signal.SIGUSR2)
    new = eventually(lambda: server.successor(old), f"a new master: {relay.said()}", READY)
    eventually(lambda: server.has_workers(new), "the new workers", READY)
    server.retire(old)
    eventually(lambda: server.master() == new, "the pidfile to name the new master")
    assert relay.waiting()
    assert server.get() == 200

    everybody = server.everybody()
    relay.signal(signal.SIGTERM)
    assert relay.result(READY) == 0
    assert f"passed SIGUSR2 to master {old}" in relay.said()
    assert f"passed {stop} to master {new}" in relay.said()
    assert not any(map(alive, everybody))


def kill_master_only(server):
    """kill -9 of the master alone; returns (master, its workers, the waiters)."""
    master = server.master()
    workers = [pid for pid in server.everybody() if pid != master]
    waiters = [Waiter(server, server.lock), Waiter(server, "--relay", server.pidfile)]
    os.kill(master, signal.SIGKILL)
    eventually(lambda: not alive(master), "the master to die")
    return master, workers, waiters


def said_of_the_dead_master(server, relay, master):
    """How many processes that still hold the lock the relay has counted."""
    words = rf"master {master} is gone; processes that still hold '{re.escape(str(server.lock))}': (\d+)\n"
    return int(eventually(lambda: re.search(words, relay.said()), "a word about the master")[1])


def hup_replaces_the_workers(server):
    """S5: the master stays, and so do the lock and whoever waits for it."""
    server.launch()
    waiter = Waiter(server, server.lock)
    master = server.master()
    for _ in range(2):
        server.replace_workers(signal.SIGHUP)
        assert holders(server.lock) >= {master, *living_children(master)}
        assert waiter.waiting()
    server.stop()
    assert waiter.result() == 0
