// The server that a herd keeps, as it can be seen: its lock, its masters, who is left of it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/flock/lock_file.h"
#include "lib/herd/dialect.h"
#include "lib/herd/masters.h"
#include "lib/os/children.h"
#include "lib/os/process.h"

namespace drover::herd {

/// Not for several threads. Nothing here blocks for longer than a look at /proc takes.
class Service {
 public:
  /// Without a `dialect`, one is recognized by the command, and then by the running master. The
  /// pidfile is empty for a server without one. Trusts the descendants of this process.
  Service(std::string pidfile, std::string lock, const Dialect* dialect,
          const std::vector<std::string>& command);

  [[nodiscard]] const std::string& pidfile() const noexcept { return pidfile_; }
  [[nodiscard]] const std::string& lock() const noexcept { return lock_; }
  [[nodiscard]] Masters& masters() noexcept { return masters_; }
  /// `plain` while it is not known.
  [[nodiscard]] const Dialect& dialect() const noexcept { return *dialect_; }

  /// The master that serves: the one that was set last, while it lives; then whom the pidfile
  /// names. Null when there is none.
  Master current();
  void set_current(Master master);
  /// The living masters, the oldest first.
  [[nodiscard]] std::vector<Master> generations();
  [[nodiscard]] std::vector<pid_t> workers_of(pid_t master) const;
  /// The processes by which a generation is known to serve: its workers; the master, where a server
  /// that executes itself in place has none.
  [[nodiscard]] std::vector<pid_t> serving_processes(pid_t master) const;

  /// For a pidfile that is missing or names nobody of the service: the process that holds the lock
  /// and has forked others that do becomes a known master. False when there is none such, as among
  /// workers whose master has died.
  bool find_master();

  /// Whether a hot reload is under way: there are two masters, or there will be.
  [[nodiscard]] bool is_reloading();

  /// Empty also when something that is no lock file is there.
  [[nodiscard]] std::optional<flock::LockFile> lock_at_path() const;
  /// Whether anybody of the service is left: see processes().
  [[nodiscard]] bool is_held() const;
  /// Those who hold the lock, but for this process, held fast.
  [[nodiscard]] std::vector<os::Process> holders() const;
  /// SIGKILL to all processes and masters.
  void kill() const;

  /// From now on this process holds the lock, too, for a server that drops it. Then the service is
  /// what lives below this process and below the masters. False when the lock cannot be had. Where
  /// the dialect says so, set_current() sees to it.
  bool keep_lock();
  [[nodiscard]] bool keeps_lock() const noexcept { return kept_.has_value(); }
  /// Children of this process that are none of the service, with all below them.
  void leave_out(std::function<bool(pid_t)> children) { left_out_ = std::move(children); }
  /// The service has ended: whoever waits for the lock gets it.
  void let_go() noexcept { kept_.reset(); }
  /// Whether this process is seen not to hold the lock; false when it cannot be looked into.
  [[nodiscard]] bool has_let_go(const os::Process& process) const;
  /// All that are left of the service, held fast: the holders; where the lock is kept, whoever
  /// lives below.
  [[nodiscard]] std::vector<os::Process> processes() const;
  /// Without a pidfile: a holder that descends from no other becomes a master.
  bool recognize_holder();
  /// Nobody holds the lock, but a herd that kept it may have been killed. The process that the
  /// pidfile names becomes a master when its command line names this server, and its environment
  /// this lock or it can have written the file. False when there is none.
  bool recognize_unlocked_master();

  /// The command was started as this child.
  void launched(os::Children& children, pid_t pid) { launcher_.emplace(children, pid); }
  /// Before the end of the io_context of those children.
  void forget_launcher() noexcept { launcher_.reset(); }
  /// The child that the command was started as, while it lives; else 0.
  [[nodiscard]] pid_t launcher() const;
  /// How it ended.
  [[nodiscard]] std::optional<os::ExitStatus> launcher_status() const;
  /// To be told of every child that was reaped.
  void reaped(pid_t pid, os::ExitStatus status);
  /// "master 812 was killed by SIGKILL"; empty when that is not known.
  [[nodiscard]] std::string how_it_ended() const;

 private:
  std::string pidfile_;
  std::string lock_;
  const Dialect* dialect_;
  bool recognizes_ = false;  ///< the dialect is told by the running master
  Masters masters_;
  Master current_;
  std::optional<flock::LockFile> kept_;
  std::function<bool(pid_t)> left_out_;
  std::optional<os::Children::Child> launcher_;
  std::string end_;
};

}  // namespace drover::herd
