# puma.rb, and the server takes the lock itself, at each boot: for a start command that you cannot
# change. During a USR2 restart nobody holds the lock between the exec and this line.
config = "/srv/app/puma.rb"
instance_eval(File.read(config), config)

require "/usr/share/drover/drover"
Drover.hold("/run/app/puma.pid.lock")
