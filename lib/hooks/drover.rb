# frozen_string_literal: true

# drover's lock and wrapper, from inside a Ruby server. In unicorn's configuration:
#
#   require "/usr/share/drover/drover"
#   before_fork { |server, _worker| Drover.hold("#{server.config[:pid]}.lock") }
#   Drover.wrapper! # under drover-exec with bundle = "exec"
#
# What holds is a descriptor number: Ruby would close a File object that nothing refers to any more.
require "fcntl"

module Drover
  FIRST_HIGH = 1025 # unicorn up to 6.1 closes 3..1024 when it re-executes itself
  CLOSE_ON_EXEC = 0o2000000 # in the flags of fdinfo, proc_pid_fdinfo(5)
  LOOK = File::RDONLY | File::NOFOLLOW | File::NOCTTY | File::NONBLOCK
  private_constant :FIRST_HIGH, :CLOSE_ON_EXEC, :LOOK

  # Holds a shared lock on the file at +path+ until this process and all that it forks and executes
  # have ended; returns the descriptor's number. To be called in every before_fork: a lock that this
  # process took before, or was born with (from drover-hold or the master before it), is found.
  #
  # Makes the file with mode 0600; its folder must exist. Waits while somebody has it exclusively, as
  # drover-wait does for an instant. Raises SystemCallError or, for a wrong path, ArgumentError.
  def self.hold(path = ENV["DROVER_LOCK"])
    raise ArgumentError, "Drover.hold: no path, and DROVER_LOCK is not set" if path.to_s.empty?
    raise ArgumentError, "Drover.hold: '#{path}' has no name: is the server's pid set?" if File.basename(path) == ".lock"

    held(path) || take(path)
  end

  # For unicorn: USR2 executes drover-exec's wrapper again, if one started this.
  def self.wrapper!
    Unicorn::HttpServer::START_CTX[0] = ENV["DROVER_WRAPPER"] if ENV["DROVER_WRAPPER"]
  end

  class << self
    private

    # A descriptor of the file at +path+ that has the lock and will be inherited.
    def held(path)
      descriptors = Dir.glob("/proc/self/fd/*").map { |name| File.basename(name).to_i }
      descriptors.find { |fd| File.identical?(path, "/proc/self/fd/#{fd}") && holding?(fd) }
    end

    def holding?(fd)
      info = File.read("/proc/self/fdinfo/#{fd}")
      info.include?("FLOCK") && (info[/^flags:\s*(\d+)/, 1].to_i(8) & CLOSE_ON_EXEC).zero?
    rescue SystemCallError
      false # another thread has closed it
    end

    def take(path)
      loop do
        file = open_lock_file(path)
        file.flock(File::LOCK_SH)
        next unless File.identical?(file, path) # replaced meanwhile

        return keep(file)
      ensure
        file&.close
      end
    end

    # First without O_CREAT: in a sticky folder fs.protected_regular forbids it, even to root.
    def open_lock_file(path)
      file = File.open(path, LOOK)
      return file if file.stat.file?

      file.close
      raise ArgumentError, "Drover.hold: '#{path}' is not a regular file"
    rescue Errno::ENOENT
      create(path) || retry
    end

    def create(path)
      File.open(path, LOOK | File::CREAT | File::EXCL, 0o600).tap { |file| file.chmod(0o600) }
    rescue Errno::EEXIST
      nil # somebody was faster
    end

    # A duplicate that no IO object owns and that is inherited.
    def keep(file)
      fd = high_duplicate(file) || file.fcntl(Fcntl::F_DUPFD, 3)
      IO.for_fd(fd, autoclose: false).close_on_exec = false
      File.utime(nil, nil, "/proc/self/fd/#{fd}") rescue nil # shows watchers the arrival
      fd
    end

    def high_duplicate(file)
      soft, hard = Process.getrlimit(:NOFILE)
      Process.setrlimit(:NOFILE, hard, hard)
      file.fcntl(Fcntl::F_DUPFD, FIRST_HIGH)
    rescue Errno::EINVAL, Errno::EPERM
      nil # the hard limit is too low
    ensure
      Process.setrlimit(:NOFILE, soft, hard)
    end
  end
end
