// What is to run beside the server, as its configuration file says: drover-companions(5).
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/companions/schedule.h"

namespace drover::companions {

using Duration = std::chrono::nanoseconds;

/// Whether it is started again after it has ended by itself.
enum class Restart { always, on_failure, never };
/// Until when a singleton has its lock: while a process of its tree has the descriptor, while its
/// main process lives, or both.
enum class Holding { tree, main, both };
/// What makes it RUNNING.
enum class Readiness {
  settled,     ///< it has lived for `startsecs`
  descriptor,  ///< it has written a line to descriptor `ready_fd`
  notify,      ///< READY=1 on NOTIFY_SOCKET, sd_notify(3)
};

/// How a new copy takes the place of the old one when the server was reloaded.
enum class Handover {
  lock,       ///< it is started, and waits for the lock while the old one stops
  overlap,    ///< the old one is stopped when it is RUNNING
  stop_first  ///< it is started when the old one is gone
};

/// One companion; of several processes of one kind, one of them.
struct Spec {
  std::string name;   ///< "worker", or "worker:2"
  std::string group;  ///< "worker"
  std::vector<std::string> command;
  std::string description;
  std::string folder;  ///< absolute; empty: the manager's
  std::map<std::string, std::string> env;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<mode_t> umask;
  std::map<int, rlimit> limits;  ///< RLIMIT_NOFILE and the like
  bool autostart = true;
  bool with_server = false;  ///< a reload of the server beside it starts it anew
  Handover handover = Handover::lock;

  std::string lock;  ///< absolute; empty: it is no singleton
  Holding holding = Holding::tree;
  std::optional<Duration> lock_timeout;

  Restart restart = Restart::always;
  std::set<int> exit_codes = {0};  ///< those of an expected end
  Duration restart_delay = std::chrono::seconds(5);
  Duration restart_max_delay = std::chrono::seconds(60);
  double restart_factor = 1.6;
  double restart_jitter = 0.1;
  Duration reset_after = std::chrono::seconds(60);
  unsigned max_restarts = 0;  ///< 0: no limit

  Readiness readiness = Readiness::settled;
  int ready_fd = -1;
  Duration startsecs = std::chrono::seconds(1);
  std::optional<Duration> start_timeout;

  int stop_signal = SIGTERM;
  Duration stop_timeout = std::chrono::seconds(60);
  Duration reload_timeout = std::chrono::seconds(60);

  std::vector<std::string> needs;  ///< names of companions or groups that are RUNNING before it
  std::optional<Schedule> schedule;
  std::string output, errors;  ///< absolute; empty: the manager's
  bool errors_to_output = false;

  /// Each key as it was given, defaults included: what a reread compares.
  std::map<std::string, std::string> given;

  [[nodiscard]] bool singleton() const noexcept { return !lock.empty(); }
};

/// Keys that a running companion takes over without being started anew.
bool applies_live(const std::string& key);
/// The keys in which two specs differ, sorted.
std::vector<std::string> differing_keys(const Spec& one, const Spec& other);

struct Specs {
  std::string run_dir;           ///< absolute: where the locks are
  std::vector<Spec> companions;  ///< in the order of the file
};

/// Reads a configuration. Relative paths are below the file's folder; `run_dir` is that of a file
/// that names none, and may be empty. Users and groups are looked up in /etc/passwd and /etc/group.
/// Throws Error (EBADMSG) with file, line and key.
Specs parse_specs(const std::string& text, const std::string& path, const std::string& run_dir);
/// The same from a file, of at most 1 MiB. Throws Error; EPERM when it belongs to somebody else
/// than root and the effective user, or everybody may write to it: what is in it is run.
Specs read_specs(const std::string& path, const std::string& run_dir);

}  // namespace drover::companions
