#include "lib/herd/notify.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <limits>
#include <system_error>

#include "lib/flock/arrivals.h"
#include "lib/os/fd.h"
#include "lib/os/unix_address.h"

namespace drover::herd {
namespace {

constexpr size_t kMostKept = 16;
/// systemd takes messages of 4096 bytes; nobody reads as much in one line.
constexpr size_t kLongestStatus = 1024;

/// How many bytes the UTF-8 character has that `text` begins with; 0 when it begins with none.
size_t character_at(std::string_view text) {
  const auto byte = [text](size_t at) {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
  };
  const unsigned first = byte(0);
  size_t length = 0;
  if (first < 0x80) length = 1;
  if (first >= 0xC2 && first < 0xE0) length = 2;
  if (first >= 0xE0 && first < 0xF0) length = 3;
  if (first >= 0xF0 && first < 0xF5) length = 4;
  for (size_t at = 1; at < length; ++at)
    if ((byte(at) & 0xC0U) != 0x80U) return 0;
  const unsigned second = byte(1);
  const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
  const bool surrogate = first == 0xED && second >= 0xA0;
  const bool beyond_unicode = first == 0xF4 && second >= 0x90;
  return overlong || surrogate || beyond_unicode ? 0 : length;
}

/// A newline in a status would begin another assignment, a control character command a terminal,
/// and a status that is no UTF-8 is ignored as a whole.
std::string one_line(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const size_t length = std::max<size_t>(character_at(text), 1);
    if (line.size() + length > kLongestStatus) break;
    const auto first = static_cast<unsigned char>(text[0]);
    const bool is_c1 = first == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    if (first == '\n' || first == '\t') {
      line += ' ';
    } else if (first < 0x20 || first == 0x7F || is_c1 || character_at(text) == 0) {
      line += '?';
    } else {
      line += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return line;
}

std::string with_status(std::string_view message, std::string_view status) {
  return status.empty() ? std::string(message)
                        : fmt::format("{}\nSTATUS={}", message, one_line(status));
}

template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<std::chrono::microseconds> interval_wanted(const Supervisor& supervisor) {
  const auto usec = number_in<uint64_t>(supervisor.watchdog_usec);
  if (!usec || *usec == 0 || *usec == std::numeric_limits<uint64_t>::max()) return std::nullopt;
  const bool ours =
      supervisor.watchdog_pid.empty() || number_in<pid_t>(supervisor.watchdog_pid) == ::getpid();
  if (!ours) return std::nullopt;
  return std::chrono::microseconds(std::max<uint64_t>(*usec / 2, 1));
}

/// A socket that is connected to the supervisor's. Empty on failure, errno says why.
os::Fd connected_to(const std::string& name) {
  const auto address = os::unix_address(name);
  if (!address) return {};
  os::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket && ::connect(socket.get(), address->get(), address->size) != 0) socket.reset();
  return socket;
}

/// An errno value; 0 when it was sent.
int send(int socket, const std::string& message) {
  ssize_t size;
  do {
    size = ::send(socket, message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (size < 0 && errno == EINTR);
  return size < 0 ? errno : 0;
}

}  // namespace

Notifier::Notifier(asio::io_context& io, const Supervisor& supervisor, flock::Notice warning)
    : io_(io), socket_(supervisor.notify_socket), warning_(std::move(warning)) {
  if (socket_.empty()) return;
  if (socket_.front() != '/' && socket_.front() != '@') {
    warn_once(
        fmt::format("NOTIFY_SOCKET is '{}', neither a path nor an abstract socket: the supervisor "
                    "is told nothing",
                    socket_));
    socket_.clear();
    return;
  }
  watchdog_interval_ = interval_wanted(supervisor);
}

void Notifier::ready(std::string_view status) { tell(with_status("READY=1", status)); }

void Notifier::reloading(std::string_view status) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto usec = now.tv_sec * 1'000'000LL + now.tv_nsec / 1000;
  tell(with_status(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", usec), status));
}

void Notifier::stopping(std::string_view status) { tell(with_status("STOPPING=1", status)); }

void Notifier::status(std::string_view text) { tell("STATUS=" + one_line(text)); }

void Notifier::extend(std::chrono::microseconds time) {
  if (time.count() > 0) tell(fmt::format("EXTEND_TIMEOUT_USEC={}", time.count()));
}

void Notifier::main_pid(pid_t pid) { tell(fmt::format("MAINPID={}", pid)); }

void Notifier::watchdog() {
  if (watchdog_interval_) tell("WATCHDOG=1");
}

void Notifier::tell(std::string message) {
  if (socket_.empty()) return;
  if (!kept_.empty()) {
    if (kept_.back() == message) return;
    if (kept_.size() == kMostKept) return failed(EAGAIN);
    kept_.push_back(std::move(message));
    return;
  }
  // A new socket each time: after the supervisor was started anew an old one would lead nowhere.
  os::Fd socket = connected_to(socket_);
  const int err = socket ? send(socket.get(), message) : errno;
  if (err == EAGAIN) {
    kept_.push_back(std::move(message));
    waiting_.emplace(io_, socket.release());
    send_kept();
  } else if (err != 0) {
    failed(err);
  }
}

void Notifier::send_kept() {
  while (!kept_.empty()) {
    const int err = send(waiting_->native_handle(), kept_.front());
    if (err == EAGAIN) {
      waiting_->async_wait(Descriptor::wait_write, [this](asio::error_code error) {
        if (!flock::cancelled(error)) send_kept();
      });
      return;
    }
    if (err != 0) failed(err);
    kept_.erase(kept_.begin());
  }
  waiting_.reset();
}

void Notifier::failed(int err) {
  warn_once(fmt::format("cannot notify the supervisor at '{}': {}, ignoring", socket_,
                        std::generic_category().message(err)));
}

void Notifier::warn_once(const std::string& text) {
  if (!warned_) warning_(text);
  warned_ = true;
}

}  // namespace drover::herd
