// What the supervisor above us is told: sd_notify(3), spoken by hand.
#pragma once

#include <sys/types.h>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/flock/wait.h"

namespace drover::herd {

/// The variables by which a supervisor says that it wants to be told; empty: not set.
struct Supervisor {
  std::string notify_socket;  ///< NOTIFY_SOCKET: a path, or "@NAME" for an abstract socket
  std::string watchdog_usec;  ///< WATCHDOG_USEC and
  std::string watchdog_pid;   ///< WATCHDOG_PID: sd_watchdog_enabled(3)
};

/// Speaks to the supervisor. Without a socket every call does nothing.
///
/// Never blocks, never raises SIGPIPE, and nothing here fails: what cannot be said is reported
/// once, as a warning, and dropped. When the supervisor's queue is full (10 messages on a kernel
/// with the default net.unix.max_dgram_qlen), up to 16 messages are kept, and sent in their order
/// as soon as it reads again: a READY=1 that was lost would end the service at its time limit. No
/// descriptor is open and nothing wakes up otherwise.
class Notifier {
 public:
  /// Keeps `io` for messages that have to wait. Warns when `notify_socket` names a kind of socket
  /// that is not spoken here (vsock).
  Notifier(asio::io_context& io, const Supervisor& supervisor, flock::Notice warning);
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  /// Whether somebody is told at all.
  [[nodiscard]] bool speaks() const noexcept { return !socket_.empty(); }

  // A status is what `systemctl status` shows: one line, which a person reads. An empty one leaves
  // the last one standing, but for status() itself.

  /// READY=1: started, or the reload that was announced has ended, well or not.
  void ready(std::string_view status = {});
  /// RELOADING=1 with the time of CLOCK_MONOTONIC, which has to be later than the supervisor's
  /// SIGHUP (systemd.service(5), Type=notify-reload). A ready() must follow.
  void reloading(std::string_view status = {});
  /// STOPPING=1. From systemd 259 on there is no way back.
  void stopping(std::string_view status = {});
  void status(std::string_view text);
  /// EXTEND_TIMEOUT_USEC: what is under way may take this much longer, counted from now. The
  /// supervisor wants another one before that is over.
  void extend(std::chrono::microseconds time);
  /// MAINPID: only for a process that is to be watched in our place.
  void main_pid(pid_t pid);

  /// How often watchdog() is wanted: half of the time after which the supervisor takes us for dead.
  /// Empty when it does not ask, or asks another process.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval() const noexcept {
    return watchdog_interval_;
  }
  /// WATCHDOG=1; nothing when nobody asked for it.
  void watchdog();

 private:
  using Descriptor = asio::posix::stream_descriptor;

  void tell(std::string message);
  void send_kept();
  void failed(int err);
  void warn_once(const std::string& text);

  asio::io_context& io_;
  std::string socket_;
  flock::Notice warning_;
  bool warned_ = false;
  std::optional<std::chrono::microseconds> watchdog_interval_;
  std::vector<std::string> kept_;      ///< messages that the supervisor had no room for
  std::optional<Descriptor> waiting_;  ///< connected, while there are such
};

}  // namespace drover::herd
