#include "lib/os/wall_timer.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::os {

WallTimer::WallTimer(asio::io_context& io, std::function<void()> call)
    : call_(std::move(call)), descriptor_(io) {
  Fd timer(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) throw Error(errno, "make a timer");
  descriptor_.assign(timer.get());
  (void)timer.release();
  wait();
}

void WallTimer::set(std::optional<time_t> moment) {
  itimerspec spec{};
  if (moment) spec.it_value = {*moment, 1};  // zero would be no moment
  const int flags = moment ? TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET : 0;
  if (::timerfd_settime(descriptor_.native_handle(), flags, &spec, nullptr) != 0)
    throw Error(errno, "set a timer");
}

void WallTimer::wait() {
  descriptor_.async_wait(descriptor_.wait_read, [this](asio::error_code error) {
    if (error) return;
    uint64_t times = 0;
    const ssize_t size = ::read(descriptor_.native_handle(), &times, sizeof times);
    const bool has_come = size == sizeof times || (size < 0 && errno == ECANCELED);
    wait();
    if (has_come) call_();
  });
}

}  // namespace drover::os
