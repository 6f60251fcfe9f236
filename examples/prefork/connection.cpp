#include "examples/prefork/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "lib/os/clock.h"

namespace drover::prefork {
namespace {

constexpr int kRequestTimeout = 408;
constexpr int kHeadTooLarge = 431;
constexpr std::string_view kEndOfHead = "\r\n\r\n";
constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";

/// False at the deadline.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  pollfd waiting{fd, events, 0};
  int count;
  do {
    count = ::poll(&waiting, 1, os::poll_timeout(deadline));
  } while (count < 0 && errno == EINTR);
  return count > 0;
}

bool would_block() { return errno == EAGAIN || errno == EINTR; }

}  // namespace

Connection::Got Connection::receive(Clock::time_point deadline) {
  char buffer[16384];
  for (;;) {
    const ssize_t size = ::recv(fd(), buffer, sizeof buffer, 0);
    if (size > 0) {
      received_.append(buffer, static_cast<size_t>(size));
      return Got::data;
    }
    if (size == 0 || !would_block()) return Got::end;
    if (!wait_for(fd(), POLLIN, deadline)) return Got::late;
  }
}

bool Connection::read_head(std::string& head, Clock::time_point deadline) {
  for (;;) {
    // An empty line before a request is what some old clients send after a body (RFC 9112, 2.2).
    if (received_.starts_with("\r\n")) received_.erase(0, 2);
    const size_t end = received_.find(kEndOfHead);
    if (std::min(end, received_.size()) > kLongestHead) throw Refused{kHeadTooLarge};
    if (end != std::string::npos) {
      head = received_.substr(0, end);
      received_.erase(0, end + kEndOfHead.size());
      return true;
    }
    const Got got = receive(deadline);
    if (got == Got::late) throw Refused{kRequestTimeout};
    if (got == Got::end) return false;
  }
}

bool Connection::read_body(const Request& request, Clock::time_point deadline) {
  size_t left = request.body_size;
  if (left > 0 && received_.empty() && request.wants_continue && !write(kGoOn, deadline))
    return false;
  for (;;) {
    const size_t size = std::min(left, received_.size());
    received_.erase(0, size);
    left -= size;
    if (left == 0) return true;
    const Got got = receive(deadline);
    if (got == Got::late) throw Refused{kRequestTimeout};
    if (got == Got::end) return false;
  }
}

std::optional<Request> Connection::read_request(Clock::time_point deadline) {
  std::string head;
  if (!read_head(head, deadline)) return std::nullopt;
  Request request = parse_head(head);
  if (!read_body(request, deadline)) return std::nullopt;
  return request;
}

bool Connection::write(std::string_view text, Clock::time_point deadline) {
  while (!text.empty()) {
    const ssize_t size = ::send(fd(), text.data(), text.size(), MSG_NOSIGNAL);
    if (size >= 0) {
      text.remove_prefix(static_cast<size_t>(size));
    } else if (!would_block() || !wait_for(fd(), POLLOUT, deadline)) {
      return false;
    }
  }
  return true;
}

void Connection::finish(Clock::time_point deadline) {
  // close() on a socket with unread bytes makes the kernel send a reset, and so do bytes that
  // arrive afterwards; a reset makes the client's kernel throw away the answer that it has not read
  // yet.
  if (::shutdown(fd(), SHUT_WR) != 0) return;
  Got got;
  do {
    received_.clear();
    got = receive(deadline);
  } while (got == Got::data && Clock::now() < deadline);
}

}  // namespace drover::prefork
