#include "examples/prefork/listener.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <optional>

#include "examples/prefork/log.h"
#include "lib/os/error.h"

namespace drover::prefork {
namespace {

constexpr int kBacklog = 1024;
constexpr std::string_view kUnix = "unix:";

/// A socket address of any family, as the system calls take it.
struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;

  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  [[nodiscard]] int family() const { return storage.ss_family; }
};

template <typename T>
Address make_address(const T& specific, size_t size) {
  Address address;
  std::memcpy(&address.storage, &specific, sizeof specific);
  address.size = static_cast<socklen_t>(size);
  return address;
}

Error refused(const std::string& text, std::string_view why) {
  return Error::because(EINVAL, "listen on", text, why);
}

/// `text` is "unix:" and the path.
Address unix_address(const std::string& text, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty()) throw refused(text, "it has no path");
  // describe_listeners() puts commas between addresses.
  if (path.find(',') != std::string::npos) throw refused(text, "its path has a comma");
  if (path.size() >= sizeof address.sun_path) throw Error(ENAMETOOLONG, "listen on", text);
  std::memcpy(address.sun_path, path.data(), path.size());
  return make_address(address, sizeof address);
}

/// "127.0.0.1:8080" or "[::1]:8080". Numbers only: no name server can delay a start.
Address tcp_address(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) throw refused(text, "it has no port, such as 127.0.0.1:8080");
  uint16_t port = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data() + colon + 1, last, port);
  if (error != std::errc{} || end != last) throw refused(text, "its port is no number up to 65535");

  std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) return make_address(v4, sizeof v4);
  if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) return make_address(v6, sizeof v6);
  throw refused(text, "its host is no IP address");
}

/// A socket file outlives its server. It may be removed only when nobody answers behind it. Between
/// its bind(2) and its listen(2) a server does not answer either: of two starts at the same moment
/// one may take the other's path away.
void remove_stale_socket(const std::string& path, const Address& address) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0 || !S_ISSOCK(st.st_mode)) return;
  const os::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe && ::connect(probe.get(), address.get(), address.size) != 0 && errno == ECONNREFUSED)
    ::unlink(path.c_str());
}

Listener open_listener(const std::string& text) {
  const bool is_unix = text.starts_with(kUnix);
  const std::string path = is_unix ? text.substr(kUnix.size()) : "";
  const Address address = is_unix ? unix_address(text, path) : tcp_address(text);
  if (is_unix) remove_stale_socket(path, address);

  os::Fd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // Connections of the last run that are in TIME_WAIT must not keep the port from the next.
  const int on = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(fd.get(), address.get(), address.size) != 0 || ::listen(fd.get(), kBacklog) != 0)
    throw Error(errno, "listen on", text);
  return {text, std::move(fd)};
}

bool is_listening(int fd) {
  int listening = 0;
  socklen_t size = sizeof listening;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0;
}

/// "3=ADDRESS". Empty when that is not a listening socket.
std::optional<Listener> adopt_one(std::string_view item) {
  const auto equals = item.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  const std::string_view digits = item.substr(0, equals);
  const char* const last = digits.data() + digits.size();
  int fd = -1;
  const auto [end, error] = std::from_chars(digits.data(), last, fd);
  if (error != std::errc{} || end != last || !is_listening(fd)) return std::nullopt;
  os::set_inherited(fd, false);
  return Listener{std::string(item.substr(equals + 1)), os::Fd(fd)};
}

}  // namespace

std::vector<Listener> open_listeners(const std::vector<std::string>& addresses,
                                     std::vector<Listener> inherited) {
  std::vector<Listener> listeners;
  for (const std::string& address : addresses) {
    const auto same = std::find_if(inherited.begin(), inherited.end(), [&](const Listener& one) {
      return one.fd && one.address == address;
    });
    const bool found = same != inherited.end();
    listeners.push_back(found ? std::move(*same) : open_listener(address));
    log(fmt::format("master: {} {}", found ? "inherited" : "listening on",
                    bound_to(listeners.back())));
  }
  return listeners;
}

std::string bound_to(const Listener& listener) {
  Address address;
  address.size = sizeof address.storage;
  if (::getsockname(listener.fd.get(), address.get(), &address.size) != 0) return listener.address;
  char host[INET6_ADDRSTRLEN] = "";
  if (address.family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    return fmt::format("{}:{}", host, ntohs(v4->sin_port));
  }
  if (address.family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    return fmt::format("[{}]:{}", host, ntohs(v6->sin6_port));
  }
  return listener.address;
}

std::string describe_listeners(const std::vector<Listener>& listeners) {
  std::string text;
  for (const Listener& listener : listeners)
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", listener.fd.get(), listener.address);
  return text;
}

std::vector<Listener> adopt_listeners(std::string_view text) {
  std::vector<Listener> listeners;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (auto listener = adopt_one(text.substr(0, comma))) listeners.push_back(std::move(*listener));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return listeners;
}

}  // namespace drover::prefork
