// A timer that leaves nothing behind.
#pragma once

#include <asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>

#include "lib/os/timer.h"

namespace drover::control {

/// Calls back once, after a time. Not for several threads.
class Alarm {
 public:
  /// Takes a descriptor for as long as it lives. Throws Error.
  explicit Alarm(asio::io_context& io);

  /// In place of what was set before. Not called after cancel(), nor after the end of this.
  void set(std::chrono::nanoseconds after, std::function<void()> call);
  void cancel() noexcept;

 private:
  os::Timer timer_;
  std::shared_ptr<std::function<void()>> call_;  ///< empty when nothing is set
};

}  // namespace drover::control
