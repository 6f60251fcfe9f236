// Waiting for what no kernel event announces, while a start, a reload or a stop is under way.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>

#include "lib/os/clock.h"
#include "lib/os/timer.h"

namespace drover::herd {

/// Never more often than this.
inline constexpr auto kPace = std::chrono::milliseconds(20);

inline os::Deadline in(std::chrono::nanoseconds duration) {
  using Clock = std::chrono::steady_clock;
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(duration);
}

/// For messages.
inline double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

/// Looks at `condition` now and every kPace until it holds. False at the deadline. What it throws
/// ends the wait.
template <class Condition>
asio::awaitable<bool> until(const Condition& condition, os::Deadline deadline) {
  os::Timer timer(co_await asio::this_coro::executor);
  for (;;) {
    if (condition()) co_return true;
    if (deadline && std::chrono::steady_clock::now() >= *deadline) co_return false;
    timer.expires_after(kPace);
    asio::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

}  // namespace drover::herd
