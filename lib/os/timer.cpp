#include "lib/os/timer.h"

#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>

#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::os {
namespace {

bool set(int fd, timespec moment) noexcept {
  itimerspec time{};
  time.it_value = moment;
  return ::timerfd_settime(fd, TFD_TIMER_ABSTIME, &time, nullptr) == 0;
}

}  // namespace

Timer::Timer(const asio::any_io_executor& executor) : descriptor_(executor) {
  Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) throw Error(errno, "make a timer");
  descriptor_.assign(timer.get());
  (void)timer.release();
}

void Timer::expires_at(Clock::time_point moment) {
  using std::chrono::nanoseconds;
  const nanoseconds since_boot = std::max<nanoseconds>(moment.time_since_epoch(), nanoseconds(1));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
  // steady_clock is CLOCK_MONOTONIC.
  if (!set(descriptor_.native_handle(), {seconds.count(), (since_boot - seconds).count()}))
    throw Error(errno, "set a timer");
  call_off();
}

void Timer::cancel() noexcept {
  // When it fails, the moment wakes nobody, or somebody early.
  (void)set(descriptor_.native_handle(), {});
  call_off();
}

void Timer::call_off() noexcept {
  asio::error_code nothing_to_do;
  descriptor_.cancel(nothing_to_do);
}

}  // namespace drover::os
