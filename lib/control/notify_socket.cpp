#include "lib/control/notify_socket.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "lib/os/error.h"
#include "lib/os/unix_address.h"

namespace drover::control {
namespace {

constexpr const char* kTried = "make a notify socket at";
constexpr size_t kLongestMessage = 4096;  // systemd's limit
/// A flood must not keep the rest of the loop from its turn.
constexpr int kMostAtATime = 64;

class OpenUmask {
 public:
  OpenUmask() noexcept : previous_(::umask(0)) {}
  ~OpenUmask() { ::umask(previous_); }
  OpenUmask(const OpenUmask&) = delete;
  OpenUmask& operator=(const OpenUmask&) = delete;

 private:
  mode_t previous_;
};

os::Fd datagram_socket() {
  os::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) throw Error(errno, "make a socket");
  return socket;
}

/// Removes a socket that its process has left behind. Connecting sends nothing.
void remove_stale(const std::string& path, const os::UnixAddress& address) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return;
  if (!S_ISSOCK(st.st_mode))
    throw Error::because(EEXIST, kTried, path, "there is something that is no socket");
  const os::Fd probe = datagram_socket();
  const bool read = ::connect(probe.get(), address.get(), address.size) == 0;
  if (!read && errno == ENOENT) return;
  if (!read && errno != ECONNREFUSED && errno != EPROTOTYPE) throw Error(errno, kTried, path);
  if (read || errno == EPROTOTYPE)
    throw Error::because(EADDRINUSE, kTried, path, "another process reads there",
                         "see who with 'ss -xlp'");
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw Error(errno, "replace", path);
}

void pass_credentials(const os::Fd& socket) {
  const int on = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
    throw Error(errno, "make a notify socket");
}

os::Fd bound_anywhere() {
  os::Fd socket = datagram_socket();
  pass_credentials(socket);
  const sockaddr_un nameless{.sun_family = AF_UNIX, .sun_path = {}};
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&nameless), sizeof(sa_family_t)) != 0)
    throw Error(errno, "make a notify socket");
  return socket;
}

std::string abstract_name_of(int socket) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw Error(errno, "make a notify socket");
  const size_t length = size - offsetof(sockaddr_un, sun_path);
  return "@" + std::string(address.sun_path + 1, length - 1);
}

os::Fd bound_at(const std::string& path) {
  const auto address = os::unix_address(path);
  if (!address)
    throw Error::because(errno, kTried, path,
                         fmt::format("a socket's path has at most {} bytes, this one {}",
                                     os::kLongestSocketPath, path.size()),
                         "put the pidfile into a folder with a shorter path, such as one in /run");
  os::Fd socket = datagram_socket();
  pass_credentials(socket);
  remove_stale(path, *address);
  const OpenUmask open;
  if (::bind(socket.get(), address->get(), address->size) != 0) throw Error(errno, kTried, path);
  return socket;
}

std::optional<ucred> credentials_in(msghdr& message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_CREDENTIALS ||
        part->cmsg_len != CMSG_LEN(sizeof(ucred)))
      continue;
    ucred credentials{};
    std::memcpy(&credentials, CMSG_DATA(part), sizeof credentials);
    return credentials;
  }
  return std::nullopt;
}

}  // namespace

std::optional<NotifyFields> parse_notify(std::string_view text) {
  if (text.ends_with('\0')) text.remove_suffix(1);  // as sent by those who count it
  if (text.find('\0') != std::string_view::npos) return std::nullopt;
  NotifyFields fields;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto equals = line.find('=');
    if (equals == 0 || equals == std::string_view::npos) continue;
    fields.emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  if (fields.empty()) return std::nullopt;
  return fields;
}

NotifySocket::NotifySocket(asio::io_context& io, const std::string& path, OnMessage on_message,
                           Warning warning)
    : on_message_(std::move(on_message)),
      warning_(std::move(warning)),
      socket_(io, (path.empty() ? bound_anywhere() : bound_at(os::absolute(path))).release()),
      name_(path.empty() ? abstract_name_of(socket_.native_handle()) : os::absolute(path)),
      file_(os::file_at(name_)) {
  wait();
}

NotifySocket::~NotifySocket() {
  if (file_ && os::file_at(name_) == file_) ::unlink(name_.c_str());
}

void NotifySocket::wait() {
  socket_.async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code error) {
    if (error == asio::error::operation_aborted) return;
    read_some();
    wait();
  });
}

void NotifySocket::read_some() {
  for (int count = 0; count < kMostAtATime; ++count)
    if (!read_one()) return;
}

/// False when there is none.
bool NotifySocket::read_one() {
  std::array<char, kLongestMessage> text;
  // Room for the credentials and nothing else: descriptors do not fit, and are closed (unix(7)).
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control;
  iovec place{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t size;
  do {
    size = ::recvmsg(socket_.native_handle(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return false;
  const auto sender = credentials_in(message);
  // 0: a process that has no number in our pid namespace.
  if (!sender || sender->pid <= 0) {
    ignored(0, "its sender is not known");
  } else if ((message.msg_flags & MSG_TRUNC) != 0) {
    ignored(sender->pid, "it is too long");
  } else if (auto fields = parse_notify({text.data(), static_cast<size_t>(size)})) {
    on_message_({sender->pid, sender->uid, std::move(*fields)});
  } else {
    ignored(sender->pid, "it holds no assignments");
  }
  return true;
}

void NotifySocket::ignored(pid_t pid, std::string_view why) {
  if (!warned_)
    warning_(fmt::format("ignored a message of process {} on '{}': {}", pid, name_, why));
  warned_ = true;
}

}  // namespace drover::control
