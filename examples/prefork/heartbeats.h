// How the master knows that a worker hangs: a page of memory that all of them share.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "examples/prefork/settings.h"

namespace drover::prefork {

/// A place for each worker, in memory that stays shared over fork(2). A worker writes there when it
/// begins a piece of work, and when it has done it; an idle worker has nothing to prove and sleeps
/// undisturbed.
class Heartbeats {
 public:
  Heartbeats();
  ~Heartbeats();
  Heartbeats(const Heartbeats&) = delete;
  Heartbeats& operator=(const Heartbeats&) = delete;

  void begin(int worker) noexcept;
  void done(int worker) noexcept;
  /// Since when the worker has been at its piece of work; empty when it has none.
  [[nodiscard]] std::optional<Clock::time_point> busy_since(int worker) const noexcept;

 private:
  using Place = std::atomic<int64_t>;  ///< nanoseconds of the monotonic clock; 0: no work
  static_assert(Place::is_always_lock_free, "a lock would not be shared between processes");

  std::span<Place> places_;
};

}  // namespace drover::prefork
