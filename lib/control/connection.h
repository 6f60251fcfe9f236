// One client of a server: lines in, lines out, within bounds and without blocking.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "lib/control/alarm.h"
#include "lib/control/protocol.h"
#include "lib/os/fd.h"

namespace drover::control {

struct Limits {
  size_t line = 64 << 10;   ///< bytes of a request
  size_t unsent = 1 << 20;  ///< bytes that a client may leave unread, beside the kernel's buffer
  size_t connections = 32;  ///< at a time
  bool one_request = true;  ///< hang up behind the first answer
  /// For a whole request, and for reading the answer's end. No timer runs but in these times.
  std::chrono::milliseconds patience{5000};
  std::chrono::milliseconds pause{1000};  ///< until one more look when no descriptor is left
};

/// A client's stream socket, non-blocking. Not for several threads; one coroutine at a time.
class Connection {
 public:
  /// Throws Error when no descriptor is left for its timer, and leaves the socket to the caller.
  Connection(asio::io_context& io, os::Fd&& socket, const Limits& limits);

  /// The next line, without its end. Throws Refused: "too_long", "usage" when it has no end, "late"
  /// after the patience. Empty when the client has gone without a word.
  asio::awaitable<std::string> read_line();

  /// Sends at once what the kernel takes and keeps the rest. Never blocks, never raises SIGPIPE.
  /// Closes the connection when too much is left unsent.
  void write(std::string_view text);
  [[nodiscard]] size_t unsent() const noexcept { return unsent_.size(); }
  /// Until all has been handed to the kernel, or the client is gone.
  asio::awaitable<void> sent();
  /// The same for at most the patience.
  asio::awaitable<void> sent_in_time();

  /// Until wake() or the client is gone. A wake() that came before counts.
  asio::awaitable<void> sleep();
  void wake();

  /// Whether the client is known to have gone: a look at the socket is sent(), sleep() or write().
  /// A client that only closes its sending side is still there.
  [[nodiscard]] bool gone() const noexcept { return gone_; }
  void close();

 private:
  class Patience;
  enum class Piece { some, last, none_yet };

  Piece take_piece();
  void be_late();

  asio::posix::stream_descriptor socket_;
  Alarm alarm_;
  Limits limits_;
  std::string read_;  ///< what has come and was not yet given out
  std::string unsent_;
  bool gone_ = false;
  bool woken_ = false;
  bool late_ = false;
};

}  // namespace drover::control
