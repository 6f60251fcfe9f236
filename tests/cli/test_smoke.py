from support.processes import eventually, holders, in_flock


def test_wait_returns_after_last_holder(start, run, lock):
    holder = start("drover-hold", lock, "sleep", "1000")
    eventually(lambda: lock.exists() and holders(lock) == {holder.pid}, "the holder")
    waiter = start("drover-wait", lock)
    eventually(lambda: in_flock(waiter.pid), "the waiter to block")
    holder.kill()
    assert waiter.wait() == 0
