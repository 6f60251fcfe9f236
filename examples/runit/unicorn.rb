working_directory "/srv/app"
pid "/run/app/unicorn.pid"
listen "127.0.0.1:8080"
worker_processes 2
timeout 60 # a worker that needs longer for a request is killed
stdout_path "/var/log/app/unicorn.log"
stderr_path "/var/log/app/unicorn.log"

# The app is loaded by the master: when that fails, "unicorn -D" fails, and the supervisor sees it.
preload_app true

# A hot reload (USR2) starts a new master beside the old one. When the new one is about to fork its
# last worker it retires the old one, which answers what it has accepted and goes. The old master is
# our parent: a pidfile that a crash has left behind never names that.
before_fork do |server, worker|
  next if worker.nr + 1 < server.worker_processes
  begin
    old = File.read("#{server.config[:pid]}.oldbin").to_i
    Process.kill(:QUIT, old) if old == Process.ppid
  rescue Errno::ENOENT, Errno::ESRCH
    # No reload is under way.
  end
end
