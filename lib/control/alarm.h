// A timer that leaves nothing behind.
#pragma once

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <functional>
#include <memory>

namespace drover::control {

/// Calls back once, after a time. In place of asio::steady_timer: an io_context that has had one of
/// those wakes up every five minutes from then on, with no timer left and while one waits for much
/// longer (asio/detail/impl/epoll_reactor.ipp, get_timeout). Not for several threads.
class Alarm {
 public:
  /// Takes a descriptor for as long as it lives. Throws Error.
  explicit Alarm(asio::io_context& io);

  /// In place of what was set before. Not called after cancel(), nor after the end of this.
  void set(std::chrono::nanoseconds after, std::function<void()> call);
  void cancel() noexcept;

 private:
  asio::posix::stream_descriptor timer_;
  std::shared_ptr<std::function<void()>> call_;  ///< empty when nothing is set
};

}  // namespace drover::control
