#include "lib/control/connection.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>

namespace drover::control {
namespace {

using Descriptor = asio::posix::stream_descriptor;

asio::awaitable<void> next(Descriptor& socket, Descriptor::wait_type what) {
  asio::error_code cancelled;  // whoever waits looks at the state
  co_await socket.async_wait(what, asio::redirect_error(asio::use_awaitable, cancelled));
}

}  // namespace

Connection::Connection(asio::io_context& io, os::Fd&& socket, const Limits& limits)
    : socket_(io), alarm_(io), limits_(limits) {
  socket_.assign(socket.get());
  (void)socket.release();
}

/// While it lives: `then` is called after the patience.
class Connection::Patience {
 public:
  Patience(Connection& connection, void (Connection::*then)()) : alarm_(connection.alarm_) {
    alarm_.set(connection.limits_.patience, [&connection, then] { (connection.*then)(); });
  }
  ~Patience() { alarm_.cancel(); }
  Patience(const Patience&) = delete;
  Patience& operator=(const Patience&) = delete;

 private:
  Alarm& alarm_;
};

void Connection::be_late() {
  late_ = true;
  if (!gone_) socket_.cancel();
}

/// Outside of the coroutine, whose frame the buffer would be in.
Connection::Piece Connection::take_piece() {
  std::array<char, 4096> buffer;
  const ssize_t size = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), 0);
  if (size < 0 && errno == EAGAIN) return Piece::none_yet;
  if (size < 0 && errno == EINTR) return Piece::some;
  if (size == 0 && !read_.empty()) throw Refused("usage", "the line has no end");
  if (size <= 0) {
    close();
    return Piece::last;
  }
  read_.append(buffer.data(), static_cast<size_t>(size));
  return Piece::some;
}

asio::awaitable<std::string> Connection::read_line() {
  const Patience patience(*this, &Connection::be_late);
  for (size_t searched = 0; !gone_ && !late_;) {
    const size_t end = read_.find('\n', searched);
    if (std::min(end, read_.size()) > limits_.line)
      throw Refused("too_long", fmt::format("the line is longer than {} bytes", limits_.line));
    if (end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      co_return line;
    }
    searched = read_.size();
    const Piece piece = take_piece();
    if (piece == Piece::last) co_return "";
    if (piece == Piece::none_yet) co_await next(socket_, Descriptor::wait_read);
  }
  if (late_)
    throw Refused("late", fmt::format("no request came within {} ms", limits_.patience.count()));
  co_return "";
}

void Connection::write(std::string_view text) {
  while (!gone_ && unsent_.empty() && !text.empty()) {
    const ssize_t size =
        ::send(socket_.native_handle(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size >= 0) {
      text.remove_prefix(static_cast<size_t>(size));
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      close();
    }
  }
  if (gone_ || text.empty()) return;
  unsent_ += text;
  if (unsent_.size() > limits_.unsent) close();
}

asio::awaitable<void> Connection::sent() {
  while (!gone_ && !unsent_.empty()) {
    co_await next(socket_, Descriptor::wait_write);
    write(std::exchange(unsent_, {}));
  }
}

asio::awaitable<void> Connection::sent_in_time() {
  if (gone_ || unsent_.empty()) co_return;  // mostly so: no timer then
  const Patience patience(*this, &Connection::close);
  co_await sent();
}

asio::awaitable<void> Connection::sleep() {
  if (gone_ || std::exchange(woken_, false)) co_return;
  co_await next(socket_, Descriptor::wait_error);  // the client has gone: EPOLLHUP
  if (!gone_ && !std::exchange(woken_, false)) close();
}

void Connection::wake() {
  woken_ = true;
  if (!gone_) socket_.cancel();
}

void Connection::close() {
  gone_ = true;
  unsent_ = {};
  asio::error_code nothing_to_do;
  socket_.close(nothing_to_do);
}

}  // namespace drover::control
