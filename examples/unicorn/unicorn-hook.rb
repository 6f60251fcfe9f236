# unicorn.rb, and the server takes the lock itself: for a start command that you cannot change.
config = "/srv/app/unicorn.rb"
instance_eval(File.read(config), config)

require "/usr/share/drover/drover"

# unicorn keeps only the last before_fork: if unicorn.rb has one, put this line into it instead.
# Runs in the master before each worker; all calls but the first find the lock taken. The workers of
# "unicorn -D" are forked before it returns, so whoever started it can rely on the lock.
before_fork { |server, _worker| Drover.hold("#{server.config[:pid]}.lock") }
