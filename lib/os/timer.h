// A moment to wait for in an event loop, by timerfd_create(2).
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <chrono>

namespace drover::os {

/// In place of asio::steady_timer, which it resembles: an io_context that has ever had one of those
/// wakes up every five minutes from then on (asio/detail/impl/epoll_reactor.ipp, get_timeout: Asio
/// 1.22). This one makes no wake-up but at its moment, and none when it has no moment.
///
/// Takes a descriptor for as long as it lives. Not for several threads.
class Timer {
 public:
  using Clock = std::chrono::steady_clock;

  /// Without a moment: whoever waits does so until cancel(). Throws Error.
  explicit Timer(const asio::any_io_executor& executor);
  explicit Timer(asio::io_context& io) : Timer(asio::any_io_executor(io.get_executor())) {}

  /// At once when the moment has passed. Those who wait already are called off. Throws Error when
  /// the system refuses: nobody shall wait for a moment that never comes.
  void expires_at(Clock::time_point moment);
  void expires_after(std::chrono::nanoseconds duration) { expires_at(Clock::now() + duration); }
  /// Calls off those who wait, with operation_aborted; there is no moment any more.
  void cancel() noexcept;

  /// Completes at the moment, or on cancel(). May come early when the moment was changed in the
  /// same turn of the loop in which it came: whoever cannot bear that looks at the clock.
  template <class Token>
  auto async_wait(Token&& token) {
    return descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                                  std::forward<Token>(token));
  }

 private:
  void call_off() noexcept;

  asio::posix::stream_descriptor descriptor_;
};

}  // namespace drover::os
