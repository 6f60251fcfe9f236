"""What keeps a lock held, and what does not: the kernel's rules that drover stands on."""

import ctypes
import os
import signal
import socket

import pytest

from conftest import needs
from support.flocks import PYTHON, command_name, end, finish, hold, holds, still_blocked, wait  # noqa: F401
from support.processes import alive, children, eventually, holders, stat

QUIET = {"stdout": -3, "stderr": -3}  # subprocess.DEVNULL: no pipe that the workers would keep open


def start_herd(start, lock, count, master="exec sleep 1000"):
    """A master and `count` workers in a session of their own; the master is their parent."""
    script = f'for i in $(seq {count}); do sleep 1000 & done; {master}'
    herd = start("drover-hold", lock, "sh", "-c", script, start_new_session=True, **QUIET)
    expected = count + (0 if master == "exit" else 1)
    eventually(lambda: lock.exists() and len(holders(lock)) == expected, "the herd", 60)
    return herd


def test_last_worker_counts_not_the_master(start, wait, lock):
    """locks 2"""
    herd = start_herd(start, lock, 10)
    waiter = wait(lock)
    end(herd)
    workers = sorted(holders(lock))
    assert len(workers) == 10
    for worker in workers[:-1]:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: holders(lock) == {workers[-1]}, "one worker to be left")
    assert still_blocked(waiter)
    os.kill(workers[-1], signal.SIGKILL)
    assert finish(waiter)[0] == 0


def test_master_that_exits_by_itself(start, wait, lock):
    """locks 3"""
    herd = start_herd(start, lock, 3, master="exit")
    assert herd.wait() == 0
    waiter = wait(lock)
    assert still_blocked(waiter)
    os.killpg(herd.pid, signal.SIGKILL)
    assert finish(waiter)[0] == 0


def test_thousand_workers_at_once(start, wait, lock):
    """locks 4"""
    herd = start_herd(start, lock, 1000)
    waiter = wait(lock)
    os.killpg(herd.pid, signal.SIGKILL)
    assert finish(waiter)[0] == 0
    assert not holders(lock)
    herd.wait()


def test_daemon_of_a_double_fork(start, wait, lock):
    """locks 5"""
    needs("setsid")
    launcher = start("drover-hold", lock, "setsid", "-f", "sleep", "1000", **QUIET)
    assert launcher.wait() == 0
    [daemon] = holders(lock)
    waiter = wait(lock)
    os.kill(daemon, signal.SIGKILL)
    assert finish(waiter)[0] == 0


def test_chain_of_execs_keeps_pid_and_lock(start, wait, lock):
    """locks 6"""
    chain = start("drover-hold", lock, "sh", "-c", "exec env A=1 sh -c 'exec sleep 1000'")
    eventually(lambda: command_name(chain.pid) == "sleep", "the end of the chain")
    assert holders(lock) == {chain.pid}
    waiter = wait(lock)
    end(chain)
    assert finish(waiter)[0] == 0


def test_zombie_holds_nothing(hold, wait, lock):
    """locks 7"""
    holder = hold(lock)
    waiter = wait(lock)
    os.kill(holder.pid, signal.SIGKILL)
    assert finish(waiter)[0] == 0
    assert stat(holder.pid)[0] == b"Z"
    holder.wait()


def test_stopped_holder_holds(hold, run, lock):
    """locks 8"""
    holder = hold(lock)
    holder.send_signal(signal.SIGSTOP)
    eventually(lambda: stat(holder.pid)[0] == b"T", "the holder to stop")
    assert run("drover-wait", "-w", "100ms", lock).returncode == 1
    end(holder)


def test_main_thread_that_ended(start, wait, lock):
    """locks 9"""
    program = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=lambda: time.sleep(1000)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    holder = start("drover-hold", lock, *PYTHON, "-c", program)
    eventually(lambda: (stat(holder.pid) or [b""])[0] == b"Z", "the main thread to end")
    waiter = wait(lock)
    assert still_blocked(waiter)
    end(holder)
    assert finish(waiter)[0] == 0


@pytest.mark.parametrize("received", [True, False])
def test_descriptor_sent_through_a_socket(start, wait, lock, received):
    """locks 10"""
    ours, theirs = socket.socketpair()
    program = (
        "import os, socket, time\n"
        f"with socket.socket(fileno={theirs.fileno()}) as peer:\n"
        "    socket.send_fds(peer, [b'.'], [int(os.environ['DROVER_LOCK_FD'])])\n"
        "    time.sleep(1000)\n"
    )
    sender = start("drover-hold", lock, *PYTHON, "-c", program, pass_fds=[theirs.fileno()])
    theirs.close()
    ours.recv(1, socket.MSG_PEEK)
    waiter = wait(lock)
    copies = socket.recv_fds(ours, 1, 1)[1] if received else []
    end(sender)
    assert still_blocked(waiter)
    for fd in copies:
        os.close(fd)
    ours.close()
    assert finish(waiter)[0] == 0


def test_mapping_holds_without_a_descriptor(start, wait, lock):
    """locks 11"""
    program = (
        "import ctypes, os, time\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.mmap.restype = ctypes.c_void_p\n"
        "fd = int(os.environ['DROVER_LOCK_FD'])\n"
        "assert libc.mmap(None, ctypes.c_size_t(4096), 1, 1, fd, ctypes.c_long(0)) != -1\n"
        "os.close(fd)\n"
        "open('mapped', 'w').close()\n"
        "time.sleep(1000)\n"
    )
    holder = start("drover-hold", lock, *PYTHON, "-c", program)
    eventually(lambda: (lock.parent / "mapped").exists(), "the mapping")
    assert not holds(holder.pid, lock)
    waiter = wait(lock)
    assert still_blocked(waiter)
    end(holder)
    assert finish(waiter)[0] == 0


def test_unlock_by_a_child_ends_the_lock_for_all(hold, wait, lock):
    """locks 12"""
    needs("flock")
    script = 'read go; flock -u "$DROVER_LOCK_FD"; exec sleep 1000'
    holder = hold(lock, command=("bash", "-c", script), stdin=-1)
    waiter = wait(lock)
    holder.stdin.write("go\n")
    holder.stdin.flush()
    assert finish(waiter)[0] == 0
    assert alive(holder.pid)
    eventually(lambda: not children(holder.pid), "flock(1) to end")
    end(holder)


def test_close_on_exec_ends_the_lock(start, wait, lock):
    script = 'read go; exec sleep 1000 1025<&-'
    holder = start("drover-hold", "--fd", "1025", lock, "bash", "-c", script, stdin=-1)
    eventually(lambda: lock.exists() and holders(lock), "the holder")
    waiter = wait(lock)
    holder.stdin.write("go\n")
    holder.stdin.flush()
    assert finish(waiter)[0] == 0
    assert alive(holder.pid)
    end(holder)


def test_foreign_holder_counts(start, wait, lock):
    """flock(1) and drover-hold share one kind of lock"""
    needs("flock")
    lock.touch()
    foreign = start("flock", "-s", "-F", lock, "sleep", "1000")
    eventually(lambda: holds(foreign.pid, lock), "flock(1) to have the lock")
    waiter = wait(lock)
    end(foreign)
    assert finish(waiter)[0] == 0


def test_record_lock_is_no_flock(run, lock):
    """fcntl(2) locks neither hold nor block"""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(lock, os.O_RDWR | os.O_CREAT)
    assert libc.lockf(fd, 1, ctypes.c_long(0)) == 0
    assert run("drover-wait", lock).returncode == 66
    os.close(fd)
