"""One job under upstart, as init/job.c and init/job_process.c of upstart 1.13 treat it.

upstart is not packaged any more. This runs the script bodies of a job file and moves through the
states as upstart does, the signals included. It takes the commands start, stop, reload on standard
input, a line each, and keeps "GOAL/STATE PID" in the file STATUS ("start/running 812").
"""

import os
import pathlib
import re
import select
import signal
import sys
import time

from supervisors_init import become_subreaper, reap_exiting

SCRIPT_FD = 9


class JobFile:
    def __init__(self, text):
        self.scripts = {}
        body = re.compile(r"^(?:([a-z-]+) )?script\n(.*?)^end script\n", re.MULTILINE | re.DOTALL)
        for name, script in body.findall(text):
            self.scripts[name or "main"] = script
        stanzas = body.sub("", text)

        def stanza(pattern, otherwise):
            found = re.search(rf"^{pattern}$", stanzas, re.MULTILINE)
            return found.groups() if found else otherwise

        self.respawn = stanza("(respawn)", None) is not None
        limit = stanza(r"respawn limit (\d+) (\d+)", (10, 5))
        self.respawn_limit, self.respawn_interval = map(int, limit)
        self.kill_timeout = int(stanza(r"kill timeout (\d+)", (5,))[0])
        self.reload_signal = signal.Signals["SIG" + stanza(r"reload signal (\w+)", ("HUP",))[0]]


class Job:
    def __init__(self, file, status):
        self.file = file
        self.status = status
        self.goal, self.state = "stop", "waiting"
        self.processes = {}  # the name of a script to its pid
        self.kill_at = None
        self.respawned = []
        self.report()

    def report(self):
        draft = self.status.with_suffix(".new")
        draft.write_text(f"{self.goal}/{self.state} {self.processes.get('main', 0)}\n")
        draft.rename(self.status)

    def spawn(self, name):
        """A leader of its own session; the script comes by /proc/self/fd/9; every process of the job
        knows its name."""
        reader, writer = os.pipe()
        os.dup2(reader, SCRIPT_FD)
        os.close(reader)
        pid = os.posix_spawn(
            "/bin/sh",
            ["/bin/sh", "-e", f"/proc/self/fd/{SCRIPT_FD}"],
            {**os.environ, "UPSTART_JOB": "app", "UPSTART_INSTANCE": ""},
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        os.close(SCRIPT_FD)
        os.write(writer, self.file.scripts[name].encode())
        os.close(writer)
        self.processes[name] = pid

    def enter(self, state):
        """Goes to the state, and on from there while there is nothing to wait for."""
        self.state = state
        if state in ("pre-start", "pre-stop", "post-stop") and state in self.file.scripts:
            self.spawn(state)
        elif state == "running":
            self.spawn("main")
        elif state == "killed" and "main" in self.processes:
            os.killpg(os.getpgid(self.processes["main"]), signal.SIGTERM)
            self.kill_at = time.monotonic() + self.file.kill_timeout
        elif state != "waiting":
            self.next()
        self.report()

    def next(self):
        if self.state == "pre-start":
            self.enter("running" if self.goal == "start" else "killed")
        elif self.state == "post-stop":
            self.enter("pre-start" if self.goal == "start" else "waiting")
        else:
            self.enter({"running": "killed", "pre-stop": "killed", "killed": "post-stop"}[self.state])

    def command(self, word):
        if word == "start" and self.goal == "stop":
            self.goal = "start"
            if self.state == "waiting":
                self.enter("pre-start")
        elif word == "stop" and self.goal == "start":
            self.goal = "stop"
            if self.state == "running":
                self.enter("pre-stop")
        elif word == "reload" and "main" in self.processes:
            os.kill(self.processes["main"], self.file.reload_signal)
        self.report()

    def ended(self, pid, status):
        name = next((name for name, known in self.processes.items() if known == pid), None)
        if name is None:
            return  # an orphan: init reaps it, and that is all
        del self.processes[name]
        self.report()
        if name == "main":
            self.kill_at = None
            if self.state == "running" and not self.may_respawn():
                self.goal = "stop"
            if self.state != "pre-stop":
                self.next()
        else:
            if name != "pre-stop" and status != 0:
                print(f"upstart: app {name} process terminated with status {status}", flush=True)
                self.goal = "stop"
            self.next()

    def may_respawn(self):
        now = time.monotonic()
        self.respawned = [at for at in self.respawned if now - at < self.file.respawn_interval] + [now]
        return self.file.respawn and len(self.respawned) <= self.file.respawn_limit

    def timeout(self):
        return None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())

    def kill_when_due(self):
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self.kill_at = None
            os.killpg(os.getpgid(self.processes["main"]), signal.SIGKILL)


def main(path, status):
    become_subreaper()
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    job = Job(JobFile(pathlib.Path(path).read_text()), pathlib.Path(status))
    while True:
        ready, _, _ = select.select([sys.stdin, reader], [], [], job.timeout())
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                reap_exiting()
                return
            job.command(line.strip())
        if reader in ready:
            os.read(reader, 512)
            reap(job)
        job.kill_when_due()


def reap(job):
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        job.ended(pid, os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
