"""Idle means idle: a manager sleeps until something happens, and so does who waits for it."""

from companions.conftest import SLEEP
from support.flocks import woken


def test_idle_manager_with_twenty_companions(manager, processes):
    """20 that run, 20 that wait for their locks in another manager, 20 that wait for their time."""
    running = "".join(f"[companion.c{number}]\n{SLEEP}\nstartsecs = 0\n" for number in range(20))
    timed = "".join(f"[companion.j{number}]\n{SLEEP}\ncron = '0 0 29 2 *'\n" for number in range(20))
    first = manager(running + timed)
    for number in range(20):
        first.until(f"c{number}", "RUNNING")
    second = manager(running, name="second")
    for number in range(20):
        second.until(f"c{number}", "WAITING", lock_state="waiting")
    assert woken([first.process, second.process]) == []
    assert first.status("j0")["state"] == "WAITING"
