#include "lib/control/client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "lib/control/address.h"
#include "lib/os/error.h"

namespace drover::control {
namespace {

constexpr size_t kLongestLine = 16 << 20;
constexpr size_t kPiece = 64 << 10;

[[noreturn]] void throw_late(const std::string& path) {
  throw Error::because(ETIMEDOUT, "reach", path, "the server takes no request");
}

/// connect(2) waits for a place in the server's queue as long as a send may take (unix(7)).
void bound_connect(int socket, os::Deadline deadline) {
  const long left = os::poll_timeout(deadline);
  if (left < 0) return;
  const timeval limit{left / 1000, std::max(left % 1000, 1L) * 1000};
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/// Whether the failure says that there is no server, in whatever way there is none.
bool is_nobody(int failed) {
  return failed == ENOENT || failed == ENOTDIR || failed == ECONNREFUSED || failed == ELOOP ||
         failed == ENAMETOOLONG || failed == EPROTOTYPE || failed == EINVAL;
}

std::string why_nobody(const std::string& path, int failed) {
  struct stat st {};
  if (failed != ECONNREFUSED) return std::generic_category().message(failed);
  if (::stat(path.c_str(), &st) == 0 && !S_ISSOCK(st.st_mode)) return "it is no socket";
  return "nobody answers there any more";
}

void connect_to(int socket, const std::string& path, os::Deadline deadline) {
  const Address address(path);
  bound_connect(socket, deadline);
  while (::connect(socket, address.get(), address.size()) != 0) {
    if (errno == EAGAIN) throw_late(path);
    if (errno != EINTR) throw Error(errno, "reach", path);
  }
}

}  // namespace

Client::Client(const std::string& path, os::Deadline deadline)
    : path_(path), socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (!socket_) throw Error(errno, "make a socket");
  try {
    connect_to(socket_.get(), path, deadline);
  } catch (const Error& error) {
    if (!is_nobody(error.err())) throw;
    throw Error::because(ECONNREFUSED, "reach", path, why_nobody(path, error.err()));
  }
  if (::fcntl(socket_.get(), F_SETFL, O_NONBLOCK) != 0) throw Error(errno, "use socket", path);
}

bool Client::ready(short events, os::Deadline deadline) const {
  for (;;) {
    pollfd waited{socket_.get(), events, 0};
    const int count = ::poll(&waited, 1, os::poll_timeout(deadline));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) throw Error(errno, "wait for", path_);
    if (count == 0 && deadline && std::chrono::steady_clock::now() >= *deadline) return false;
  }
}

void Client::send(const Json& request, os::Deadline deadline) {
  const std::string line = as_line(request);
  for (std::string_view left = line; !left.empty();) {
    const ssize_t size = ::send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (size >= 0) {
      left.remove_prefix(static_cast<size_t>(size));
    } else if (errno == EAGAIN) {
      if (!ready(POLLOUT, deadline)) throw_late(path_);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return;
    } else if (errno != EINTR) {
      throw Error(errno, "ask", path_);
    }
  }
}

Client::Line Client::next(os::Deadline deadline) {
  std::vector<char> piece;
  for (;;) {
    const auto end = read_.find('\n', searched_);
    if (std::min(end, read_.size()) > kLongestLine)
      throw Error::because(EBADMSG, "understand", path_, "its line is longer than 16 MiB");
    if (end != std::string::npos) {
      const std::string text = read_.substr(0, end);
      read_.erase(0, end + 1);
      searched_ = 0;
      if (!text.empty()) return parse(text);
      continue;
    }
    searched_ = read_.size();
    piece.resize(kPiece);
    const ssize_t size = ::recv(socket_.get(), piece.data(), piece.size(), 0);
    if (size > 0) {
      read_.append(piece.data(), static_cast<size_t>(size));
    } else if (size < 0 && errno == EAGAIN) {
      if (!ready(POLLIN, deadline)) return {Got::nothing};
    } else if (size == 0 || errno == ECONNRESET) {
      if (read_.empty()) return {Got::end};
      throw Error::because(EBADMSG, "understand", path_, "its line has no end");
    } else if (errno != EINTR) {
      throw Error(errno, "hear", path_);
    }
  }
}

Client::Line Client::parse(std::string_view text) const {
  try {
    return {Got::line, parse_object(text, kAnswerBounds)};
  } catch (const Refused& refused) {
    throw Error::because(EBADMSG, "understand", path_, refused.what());
  }
}

}  // namespace drover::control
