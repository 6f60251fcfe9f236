// Signals: names, sets, and taking them in one place.
#pragma once

#include <signal.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "lib/os/clock.h"
#include "lib/os/fd.h"

namespace drover::os {

/// "SIGTERM"; "SIGRTMIN+3"; "signal 99" for what is none.
std::string signal_name(int number);
/// Reads "TERM", "SIGTERM", "term", "15", "RTMAX-1", and second names: "IOT", "CLD" and "IO".
/// Empty when it is no signal.
std::optional<int> parse_signal(std::string_view text);

sigset_t signal_set(std::initializer_list<int> numbers) noexcept;
/// Everything that can be caught and that another process may have meant for us: not KILL, STOP,
/// CHLD, and not the faults that the processor raises.
sigset_t forwardable_signals() noexcept;

/// Blocks signals for the calling thread, and so for what it starts, until the process ends: one
/// that comes at the very end is dropped, it does not kill the process between its result and its
/// exit.
void block_signals(const sigset_t& set) noexcept;

/// Blocks signals for the calling thread while it lives; then the old mask is back. Blocked signals
/// are inherited over fork and exec: whoever spawns restores the mask first.
class BlockedSignals {
 public:
  explicit BlockedSignals(const sigset_t& set) noexcept;
  ~BlockedSignals();
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  [[nodiscard]] const sigset_t& previous() const noexcept { return previous_; }

 private:
  sigset_t previous_{};
};

/// While it lives, children can be waited for also where the caller's parent ignored SIGCHLD, which
/// would have the kernel reap them and lose their status; then the old disposition is back.
class ReapableChildren {
 public:
  ReapableChildren() noexcept;
  ~ReapableChildren();
  ReapableChildren(const ReapableChildren&) = delete;
  ReapableChildren& operator=(const ReapableChildren&) = delete;

 private:
  struct sigaction previous_ {};
};

/// A non-blocking signalfd(2) for signals that the caller has blocked. Throws Error.
Fd open_signalfd(const sigset_t& set);

/// While it lives, the calling thread's blocking system calls fail with EINTR from `deadline` on,
/// again and again every 10 ms, so that the race between the timer and the call cannot be lost.
/// Without a deadline it does nothing. Takes SIGALRM for the whole process: at most one at a time.
/// Throws Error when the system refuses: nobody shall block for ever instead.
class Interrupter {
 public:
  explicit Interrupter(Deadline deadline);
  ~Interrupter();
  Interrupter(const Interrupter&) = delete;
  Interrupter& operator=(const Interrupter&) = delete;

 private:
  void disarm() noexcept;

  bool armed_ = false;
  timer_t timer_{};
  struct sigaction previous_action_ {};
  sigset_t previous_mask_{};
};

}  // namespace drover::os
