# gunicorn.conf.py, and the server takes the lock itself: for a start command that you cannot change.
import sys

with open("/srv/app/gunicorn.conf.py") as plain:
    exec(plain.read())

sys.path.insert(0, "/usr/share/drover")
import drover


def on_starting(server):
    """Runs once in each master, also in one that USR2 brings, before there are sockets or workers."""
    drover.hold(server.cfg.pidfile + ".lock")
