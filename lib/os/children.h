// The children of a process that adopts orphans: one place reaps them all, and whoever started one
// learns from there how it ended.
#pragma once

#include <sys/types.h>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <optional>
#include <unordered_map>

#include "lib/os/clock.h"
#include "lib/os/process.h"
#include "lib/os/timer.h"

namespace drover::os {

/// Used by the one thread that runs the io_context; outlives every Child. No timer and no
/// descriptor of its own. Nobody else in the process may wait for children.
class Children {
 public:
  class Child;
  using Visit = std::function<void(pid_t, ExitStatus)>;

  explicit Children(asio::io_context& io) : io_(io) {}
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  /// Reaps every child that has ended. Call it whenever SIGCHLD has come: one signal may stand for
  /// many ends. Does not block.
  void reap();
  /// Called by reap() for each child that is no Child: the server's processes, adopted ones.
  void on_other(Visit visit) { other_ = std::move(visit); }

 private:
  asio::io_context& io_;
  Visit other_;
  std::unordered_map<pid_t, Child*> awaited_;
};

/// One child, from its start on. A pid that was not reaped names nobody else, so as long as there
/// is no status it is safe to signal.
class Children::Child {
 public:
  /// To be made before the loop runs on after the fork: reap() might be next.
  Child(Children& children, pid_t pid);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// How it ended; empty until it was reaped.
  [[nodiscard]] const std::optional<ExitStatus>& status() const noexcept { return status_; }
  /// Until it was reaped, at most until `deadline`: the status, empty at the deadline. For one
  /// waiter at a time.
  asio::awaitable<std::optional<ExitStatus>> ended(Deadline deadline);

 private:
  friend class Children;
  Children& children_;
  pid_t pid_;
  std::optional<ExitStatus> status_;
  Timer changed_;
};

}  // namespace drover::os
