# puma under drover. Only the pidfile matters: the lock is /run/app/puma.pid.lock, beside it.
directory "/srv/app"
bind "tcp://127.0.0.1:8080"
pidfile "/run/app/puma.pid"
stdout_redirect "/run/app/puma.log", "/run/app/puma.log", true
threads 1, 5
workers 2
