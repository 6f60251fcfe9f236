#include "lib/control/alarm.h"

#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>

#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::control {
namespace {

void set_timer(int fd, std::chrono::nanoseconds after) noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(after);
  itimerspec time{};
  time.it_value = {seconds.count(), (after - seconds).count()};
  ::timerfd_settime(fd, 0, &time, nullptr);  // fails only for values that are none
}

}  // namespace

Alarm::Alarm(asio::io_context& io) : timer_(io) {
  os::Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) throw Error(errno, "make a timer");
  timer_.assign(timer.get());
  (void)timer.release();
}

void Alarm::set(std::chrono::nanoseconds after, std::function<void()> call) {
  cancel();
  call_ = std::make_shared<std::function<void()>>(std::move(call));
  set_timer(timer_.native_handle(), std::max(after, std::chrono::nanoseconds(1)));
  timer_.async_wait(asio::posix::stream_descriptor::wait_read,
                    [wanted = std::weak_ptr(call_)](asio::error_code error) {
                      // One that was too late to be cancelled has nobody left who wants it.
                      if (const auto then = wanted.lock(); then && !error) (*then)();
                    });
}

void Alarm::cancel() noexcept {
  if (!call_) return;
  call_.reset();
  set_timer(timer_.native_handle(), std::chrono::nanoseconds(0));
  asio::error_code nothing_to_do;
  timer_.cancel(nothing_to_do);
}

}  // namespace drover::control
