# gunicorn under drover. Only the pidfile matters: the lock is /run/app/gunicorn.pid.lock, beside it.
chdir = "/srv/app"
wsgi_app = "app:app"
bind = "127.0.0.1:8080"
pidfile = "/run/app/gunicorn.pid"
errorlog = "/run/app/gunicorn.log"
daemon = True
workers = 2
timeout = 30
graceful_timeout = 30
