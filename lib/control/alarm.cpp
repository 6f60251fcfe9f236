#include "lib/control/alarm.h"

namespace drover::control {

Alarm::Alarm(asio::io_context& io) : timer_(io) {}

void Alarm::set(std::chrono::nanoseconds after, std::function<void()> call) {
  cancel();
  call_ = std::make_shared<std::function<void()>>(std::move(call));
  timer_.expires_after(after);
  timer_.async_wait([wanted = std::weak_ptr(call_)](asio::error_code error) {
    // One that was too late to be cancelled has nobody left who wants it.
    if (const auto then = wanted.lock(); then && !error) (*then)();
  });
}

void Alarm::cancel() noexcept {
  if (!call_) return;
  call_.reset();
  timer_.cancel();
}

}  // namespace drover::control
