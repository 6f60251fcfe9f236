# unicorn under drover. Only the pidfile matters: the lock is /run/app/unicorn.pid.lock, beside it.
working_directory "/srv/app"
listen "127.0.0.1:8080"
pid "/run/app/unicorn.pid"
stdout_path "/run/app/unicorn.log"
stderr_path "/run/app/unicorn.log"
worker_processes 2
timeout 30
preload_app true
