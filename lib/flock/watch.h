// Many locks in one process, and waits with limits: a thread blocked in flock(2) for each lock, one
// event loop for everything else.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/flock/arrivals.h"
#include "lib/flock/wait.h"

namespace drover::flock {

struct WatchOptions {
  /// How long the first holder may take to come; empty: it must be there already.
  std::optional<std::chrono::nanoseconds> start;
  /// How long a successor may take to come after the last holder; empty: not at all.
  std::optional<std::chrono::nanoseconds> grace;
  bool report = false;  ///< say how the masters ended
};

/// Not for several threads. No wake-up while nothing happens.
class Watch {
 public:
  Watch(asio::io_context& io, WatchOptions options, Notice notice);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Until the service at `path` lives. Throws Error (ENOENT) when nobody came in time, EDEADLK
  /// when this process is inside the held tree. Empty when somebody came and has left again.
  asio::awaitable<std::optional<LockFile>> begun(std::string path);
  /// Throws Error (EDEADLK) when waiting for this lock would be waiting for this process.
  void refuse_own(const LockFile& file) const { refuse_inside_held_tree(held_above_, file); }
  /// Called each time that a lock has become free, before anything that follows is looked at.
  void on_free(std::function<void()> call) { freed_ = std::move(call); }
  /// From now on there is no grace time.
  void expect_no_successor() { options_.grace.reset(); }
  /// Until nobody holds `file`, nor what replaces it, nor a successor within the grace time.
  asio::awaitable<void> ended(LockFile file);

 private:
  struct Job;
  struct Pipe;

  asio::awaitable<void> free(std::shared_ptr<Job> job);
  asio::awaitable<void> finished(uint64_t job);
  asio::awaitable<std::optional<LockFile>> successor(const LockFile& freed);
  void read_finished();

  asio::io_context& io_;
  WatchOptions options_;
  Notice notice_;
  std::function<void()> freed_;
  std::vector<LockAbove> held_above_;
  Arrivals arrivals_;
  std::shared_ptr<Pipe> pipe_;
  asio::posix::stream_descriptor finished_;
  uint64_t last_job_ = 0;
  std::unordered_map<uint64_t, std::function<void()>> waiting_;  ///< what resumes the coroutines
};

struct WaitRequest {
  std::vector<std::string> paths;
  bool any = false;  ///< the first of them is enough
  WatchOptions watch;
  os::Deadline limit;
};

struct WaitResult {
  bool gone = false;  ///< false: still held at the limit
  std::string path;   ///< with `any`: which was the first
};

/// Blocks until every service (or, asked for any, one) has ended and its ports can be bound, or
/// until the limit; a limit before anybody came throws Error (ENOENT). Uses wait_until_gone where
/// that is enough. Throws Error.
WaitResult wait(const WaitRequest& request, const Notice& notice);

}  // namespace drover::flock
