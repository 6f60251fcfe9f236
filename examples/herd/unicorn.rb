working_directory "/srv/app"
pid "/run/app/unicorn.pid"
listen "127.0.0.1:8080"
worker_processes 2
timeout 60 # a worker that needs longer for a request is killed

# The app is loaded once, by the master.
preload_app true

# No before_fork that retires the old master: drover-herd does that, when the new one serves. And no
# log files: what the server writes goes where the supervisor puts drover-herd's own words.
