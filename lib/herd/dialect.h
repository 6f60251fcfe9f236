// What drover knows of each server's hot reload: data, not code. Every row was run on the server
// that Debian 12 packages (tests/servers/test_herd_*.py).
#pragma once

#include <signal.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::herd {

/// Where the next generation appears once it was asked for.
enum class Successor {
  takes_pidfile,     ///< it writes PIDFILE; its parent, the old master, moves to PIDFILE.oldbin
  waits_for_parent,  ///< it writes PIDFILE.2 and takes PIDFILE once its parent is gone
  in_place,          ///< the master executes itself anew: same process, new workers
  same_program,      ///< nothing new: the process reads its configuration again
};

struct Dialect {
  std::string_view name;
  std::vector<std::string_view> programs;  ///< as they are called; "php-fpm*" is a beginning
  Successor successor = Successor::same_program;
  int upgrade = SIGHUP;    ///< asks for the next generation
  int graceful = SIGTERM;  ///< stops it after the requests in flight
  int quick = SIGTERM;     ///< stops it at once
  /// Stops its workers gracefully and leaves the master, so that the old generation can be brought
  /// back by `restore` until the last moment.
  std::optional<int> quiesce = {};
  std::optional<int> restore = {};
  std::optional<int> fewer_workers = {};  ///< one worker less
  std::optional<int> more_workers = {};
  /// It refuses to be upgraded while the generation before it lives.
  bool one_before = false;
  /// Its master says READY=1 before there is a worker, or also when the new configuration was
  /// refused: no evidence.
  bool ready_too_early = false;
  /// The variable in which its master tells its next image what there is, with the number of
  /// configurations that it has refused: "|type=m;pid=812;failedreloads=2|type=w;pid=813|".
  std::string_view processes = {};
  /// The master keeps the listening sockets that it hands down to its workers.
  bool keeps_sockets = false;
  /// No descriptor that it inherited comes through its upgrade: the lock has to be kept for it.
  bool drops_descriptors = false;
  /// Only a daemon can be upgraded, and only one that was started by an absolute path.
  bool daemon_by_path = false;
  /// What TERM has to become for it to stop; empty: TERM.
  std::optional<int> for_term = {};

  /// Whether there are workers to count.
  [[nodiscard]] bool has_workers() const { return successor != Successor::same_program; }
  /// Whether there is a time with two masters.
  [[nodiscard]] bool has_two_masters() const {
    return successor == Successor::takes_pidfile || successor == Successor::waits_for_parent;
  }
};

/// All of them, `plain` last.
const std::vector<Dialect>& dialects();
/// By its name. Null when there is none.
const Dialect* find_dialect(std::string_view name);
/// By the words of a command: "bundle exec unicorn", "python3 -m gunicorn", "/usr/sbin/nginx", or
/// the title of a running process: "gunicorn: master [app]". Null when no word names a server.
const Dialect* recognize(const std::vector<std::string>& command);

}  // namespace drover::herd
