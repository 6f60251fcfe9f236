// A moment of the clock on the wall, by timerfd_create(2): whoever sets the machine's clock moves
// it.
#pragma once

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <ctime>
#include <functional>
#include <optional>

namespace drover::os {

/// Takes a descriptor for as long as it lives. Not for several threads. No wake-up without a
/// moment.
class WallTimer {
 public:
  /// `call` is called at the moment, and whenever the clock was set before it came
  /// (TFD_TIMER_CANCEL_ON_SET): look at the clock. Not called after the end of this. Throws Error.
  WallTimer(asio::io_context& io, std::function<void()> call);

  /// In place of what was set before; empty for never. Throws Error.
  void set(std::optional<time_t> moment);

 private:
  void wait();

  std::function<void()> call_;
  asio::posix::stream_descriptor descriptor_;
};

}  // namespace drover::os
