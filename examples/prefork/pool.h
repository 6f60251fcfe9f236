// The workers as the master sees them: how many there should be, which of them live, which must go.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "examples/prefork/heartbeats.h"
#include "examples/prefork/settings.h"
#include "lib/os/process.h"

namespace drover::prefork {

/// Never blocks. The master calls maintain() whenever something may have changed, and again at
/// next_deadline(): everything that depends on time happens there.
class Pool {
 public:
  /// `run` is called in each new child with the worker's number; the child ends when it returns.
  Pool(Heartbeats& heartbeats, Clock::duration timeout, std::function<void(int)> run);

  /// So many workers from now on; surplus ones leave when their request is done.
  void resize(int workers);
  /// Replaces every worker that lives now by a new one, one at a time: the next leaves when the
  /// successor of the one before is up.
  void replace_all();
  /// Every worker leaves: SIGQUIT lets it finish its request, SIGTERM does not. After `grace` it is
  /// killed. No new ones, until the next resize().
  void dismiss(int signal, Clock::duration grace);
  /// Passes a signal on to all workers.
  void signal_all(int signal) const noexcept;

  struct Death {
    int number;
    bool was_up;
    bool expected;  ///< it had been told to leave
  };
  /// Notes that the child has been waited for. Empty when it was no worker.
  std::optional<Death> reaped(pid_t child, os::ExitStatus status);
  /// Notes that the worker has begun to serve.
  void is_up(pid_t child);

  void maintain();
  /// When maintain() has to be called if nothing happens before; empty: not at all.
  [[nodiscard]] std::optional<Clock::time_point> next_deadline() const;

  [[nodiscard]] bool empty() const noexcept;
  [[nodiscard]] bool all_up() const noexcept;

 private:
  struct Worker {
    pid_t pid = 0;  ///< 0: there is none now
    bool up = false;
    bool outdated = false;
    std::optional<Clock::time_point> leave_until;  ///< told to leave; killed after that
    bool killed = false;
    Clock::time_point started;
    int early_deaths = 0;  ///< in a row, each soon after the start
    Clock::time_point start_after;
  };

  void start(int number);
  void tell_to_leave(Worker& worker, int signal, Clock::duration grace);
  void replace_one();
  void kill_if_overdue(int number);
  [[nodiscard]] std::optional<Clock::time_point> overdue_at(int number) const;
  [[nodiscard]] bool is_wanted(int number) const noexcept { return number < size_; }

  Heartbeats& heartbeats_;
  const Clock::duration timeout_;
  const std::function<void(int)> run_;
  int size_ = 0;
  std::vector<Worker> workers_;  ///< by number
};

}  // namespace drover::prefork
