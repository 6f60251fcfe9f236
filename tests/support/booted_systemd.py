"""A real systemd, booted as pid 1 of private namespaces, for one test.

It sees the host's files read-only and the host's network, but its own processes, /run, /tmp, /var/tmp,
/var/log, /dev/console and cgroups (one cgroup of the host's, which is removed at the end). Of the
distribution's units only those in STOCK_UNITS exist: nothing of the boot can reach the host's
clock, disks, devices or kernel settings. Needs root.
"""

import os
import pathlib
import tempfile

from support.processes import alive, children, eventually

STOCK_UNITS = ("basic.target", "sysinit.target", "shutdown.target")

# The mounts, before systemd runs: $1 is the test's folder, $2 the folder of drover's programs. The
# folder keeps its path although the private /tmp covers it.
SETUP = f"""
set -e
console=$1/console.log
touch "$console"
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/folder /run/tools /run/systemd/system
mount --bind "$1" /run/folder
mount --bind "$2" /run/tools
mount --bind "$console" /dev/console
for place in /tmp /var/tmp /var/log; do mount -t tmpfs -o mode=1777 tmpfs $place; done
mkdir -p "$1"
mount --move /run/folder "$1"
mount -t proc proc /proc
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -o remount,bind,ro /
for unit in {" ".join(STOCK_UNITS)}; do cp /lib/systemd/system/$unit /run/systemd/system; done
exec env -i container=drover PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/run/systemd/system \
  /lib/systemd/systemd --system --unit=basic.target --log-target=console
"""

# In a cgroup of its own first: the cgroup namespace makes that the root that systemd sees.
BOOT = """
echo $$ > "$1/cgroup.procs"
exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup --propagation private \
  sh -c "$2" setup "$3" "$4"
"""


def cgroup2_mount():
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(place)
    raise AssertionError("no cgroup2 is mounted")


class BootedSystemd:
    UNITS = "/run/systemd/system"
    TOOLS = "/run/tools"

    def __init__(self, processes, folder, tools):
        self._processes = processes
        self._console = folder / "console.log"
        self.cgroup = pathlib.Path(tempfile.mkdtemp(prefix="drover.", dir=cgroup2_mount()))
        log = open(self._console, "w")
        self._unshare = processes.start(
            "sh", "-c", BOOT, "boot", self.cgroup, SETUP, folder, tools, stdout=log, stderr=log
        )
        log.close()
        self.pid = None

    def __enter__(self):
        try:
            self.pid = self._init()
            self.systemctl("is-system-running", "--wait")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_):
        self._end()

    def _init(self):
        """Waits for systemd's control socket. Returns the pid, on the host, of its process."""

        def ready():
            assert self._unshare.poll() is None, f"systemd did not boot: {self._console.read_text()}"
            found = children(self._unshare.pid)
            return found if found and self._path(found[0], "/run/systemd/private").exists() else None

        return eventually(ready, "systemd to boot")[0]

    @staticmethod
    def _path(init, path):
        return pathlib.Path(f"/proc/{init}/root{path}")

    def path(self, path):
        """What systemd's processes call `path`, as the host can open it."""
        return self._path(self.pid, path)

    def systemctl(self, *words, check=True):
        # --root: the tests themselves may run in a chroot, and systemd then does.
        spaces = ("--pid", "--mount", "--uts", "--ipc", "--cgroup", "--root")
        enter = ("nsenter", "-t", self.pid, *spaces, "--")
        done = self._processes.run(*enter, "systemctl", "--no-pager", *words, timeout=60)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def show(self, unit, name):
        """One property of a unit, as text."""
        return self.systemctl("show", "--value", "-p", name, unit).stdout.strip()

    def install(self, name, text):
        """A unit file, or a drop-in, in the private /run/systemd/system."""
        target = self.path(f"{self.UNITS}/{name}")
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
        self.systemctl("daemon-reload")

    def host_pid(self, pid):
        """The pid on the host of a process that systemd knows as `pid`; None when it is gone."""
        for name in os.listdir("/proc"):
            if name.isdigit() and self._knows(name, pid):
                return int(name)
        return None

    def _knows(self, name, pid):
        try:
            same = os.readlink(f"/proc/{name}/ns/pid") == os.readlink(f"/proc/{self.pid}/ns/pid")
            with open(f"/proc/{name}/status") as status:
                words = next(line for line in status if line.startswith("NSpid:")).split()
            return same and int(words[-1]) == pid
        except (OSError, StopIteration):
            return False

    def _end(self):
        """The end of its pid 1 is the end of all in there. Proves that, and removes the cgroup."""
        inside = self._members()
        self._unshare.kill()  # with --kill-child: systemd, too
        self._unshare.wait()
        eventually(
            lambda: not self._members() and not any(alive(pid) for pid in inside),
            "the end of all of systemd's processes",
        )
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(folder)

    def _members(self):
        files = self.cgroup.rglob("cgroup.procs")
        return [int(pid) for file in files for pid in file.read_text().split()]
