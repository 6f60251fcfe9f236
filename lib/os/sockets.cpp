#include "lib/os/sockets.h"

#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <map>

#include "lib/os/procfs.h"

namespace drover::os {
namespace {

constexpr size_t kMostSockets = 1024;
constexpr size_t kMostOfTable = 1 << 20;

/// The inode out of "socket:[123]"; empty for any other file.
std::optional<ino_t> socket_inode(int folder, int fd) {
  std::array<char, 16> name{};
  std::to_chars(name.data(), name.data() + name.size() - 1, fd);
  std::array<char, 64> target;
  const ssize_t size = ::readlinkat(folder, name.data(), target.data(), target.size());
  constexpr std::string_view kBegin = "socket:[";
  const std::string_view text(target.data(), size < 0 ? 0 : static_cast<size_t>(size));
  if (!text.starts_with(kBegin)) return std::nullopt;
  ino_t ino = 0;
  std::from_chars(text.data() + kBegin.size(), text.data() + text.size(), ino);
  return ino;
}

/// Calls `visit(fd, inode)` for each socket until it returns false; false when nothing can be seen.
template <class Visit>
bool visit_sockets(pid_t pid, const Visit& visit) {
  NumberedDir dir(fmt::format("/proc/{}/fd", pid));
  if (!dir) return false;
  for (int fd; (fd = dir.next()) >= 0;) {
    const auto ino = socket_inode(dir.fd(), fd);
    if (ino && !visit(fd, *ino)) return true;
  }
  return dir.error() == 0;
}

using Sockets = std::optional<std::vector<ForeignSocket>>;

/// Not seen may mean gone, or hidden (hidepid, proc(5)).
Sockets answer(bool seen, std::vector<ForeignSocket> found, const Process& process) {
  if (seen) return found;
  return process.alive() ? std::nullopt : Sockets(std::in_place);
}

int option(const Fd& socket, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

SocketAddress local_address(const Fd& socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  SocketAddress address;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0)
    return address;
  const auto bytes = [](const void* at, size_t count) {
    return std::string(static_cast<const char*>(at), count);
  };
  if (storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &storage, sizeof in);
    address = {AF_INET, bytes(&in.sin_addr, sizeof in.sin_addr), ntohs(in.sin_port)};
  } else if (storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &storage, sizeof in);
    address = {AF_INET6, bytes(&in.sin6_addr, sizeof in.sin6_addr), ntohs(in.sin6_port)};
  } else if (storage.ss_family == AF_UNIX && size > offsetof(sockaddr_un, sun_path)) {
    address = {AF_UNIX, bytes(&storage, size).substr(offsetof(sockaddr_un, sun_path)), 0};
    // As /proc/net/unix shows it: a path without its end, an abstract name with '@'.
    while (address.host.size() > 1 && address.host.back() == '\0')
      address.host.pop_back();
    if (address.host.front() == '\0') address.host.front() = '@';
  }
  return address;
}

bool has_peer(const Fd& socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  return ::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size) == 0;
}

ForeignSocket examine(const Fd& copy, int fd, ino_t ino) {
  ForeignSocket socket{fd, ino, option(copy, SO_ACCEPTCONN) == 1, false, {}};
  socket.connected = !socket.listening && option(copy, SO_TYPE) == SOCK_STREAM && has_peer(copy);
  if (socket.listening || socket.connected) socket.local = local_address(copy);
  return socket;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (size_t at = 0; (at = line.find_first_not_of(' ', at)) != std::string_view::npos;) {
    const size_t end = std::min(line.find(' ', at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

template <class Number>
bool read_number(std::string_view text, Number& value, int base) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc{} && end == text.data() + text.size();
}

/// "0100007F:1F90": the address as words of memory in hexadecimal, the port as a number.
SocketAddress parse_address(int family, std::string_view text) {
  SocketAddress address{family, {}, 0};
  const size_t colon = std::min(text.find(':'), text.size());
  for (size_t at = 0; at + 8 <= colon; at += 8) {
    uint32_t word = 0;
    if (!read_number(text.substr(at, 8), word, 16)) return {};
    address.host.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  if (colon == text.size() || !read_number(text.substr(colon + 1), address.port, 16)) return {};
  return address;
}

/// proc_pid_net(5): local address in word 1, state in word 3, inode in word 9.
ForeignSocket parse_tcp(int family, const std::vector<std::string_view>& words) {
  ForeignSocket socket;
  if (words.size() < 10 || !read_number(words[9], socket.ino, 10)) return {};
  socket.listening = words[3] == "0A";
  socket.connected = words[3] == "01" || words[3] == "08";  // established, closed by the peer
  socket.local = parse_address(family, words[1]);
  return socket;
}

/// The same: flags in word 3 (__SO_ACCEPTCON), type, state, inode, and the path where it has one.
ForeignSocket parse_unix(const std::vector<std::string_view>& words) {
  ForeignSocket socket;
  if (words.size() < 7 || !read_number(words[6], socket.ino, 10)) return {};
  socket.listening = words[3] == "00010000";
  socket.connected = words[4] == "0001" && words[5] == "03";
  if (words.size() > 7) {
    const char* const begin = words[7].data();
    socket.local = {AF_UNIX, {begin, words.back().data() + words.back().size()}, 0};
  }
  return socket;
}

}  // namespace

bool SocketAddress::takes(const SocketAddress& connection) const {
  if (family == 0 || family != connection.family || port != connection.port || host.empty())
    return false;
  const bool every = family != AF_UNIX && host.find_first_not_of('\0') == std::string::npos;
  return every || host == connection.host;
}

std::vector<ForeignSocket> parse_socket_table(int family, std::string_view table) {
  std::vector<ForeignSocket> found;
  size_t at = std::min(table.find('\n'), table.size());  // the first line names the columns
  while (at < table.size()) {
    const size_t end = table.find('\n', ++at);
    if (end == std::string_view::npos) break;  // cut by the bound, if anything
    const auto words = words_of(table.substr(at, end - at));
    ForeignSocket socket = family == AF_UNIX ? parse_unix(words) : parse_tcp(family, words);
    if (socket.listening || socket.connected) found.push_back(std::move(socket));
    at = end;
  }
  return found;
}

std::optional<std::vector<ForeignSocket>> sockets_by_tables(const Process& process) {
  std::map<ino_t, ForeignSocket> rows;
  for (const auto& [family, name] :
       {std::pair(AF_INET, "tcp"), {AF_INET6, "tcp6"}, {AF_UNIX, "unix"}}) {
    const auto table = read_proc(fmt::format("/proc/{}/net/{}", process.pid(), name), kMostOfTable);
    for (ForeignSocket& row : parse_socket_table(family, table))
      rows.emplace(row.ino, std::move(row));
  }
  std::vector<ForeignSocket> found;
  const bool seen = visit_sockets(process.pid(), [&](int fd, ino_t ino) {
    const auto row = rows.find(ino);
    found.push_back(row == rows.end() ? ForeignSocket{fd, ino, false, false, {}} : row->second);
    found.back().fd = fd;
    return found.size() < kMostSockets;
  });
  return answer(seen, std::move(found), process);
}

std::optional<std::vector<ForeignSocket>> sockets_of(const Process& process) {
  std::vector<ForeignSocket> found;
  bool refused = false;
  bool lacking = false;
  const bool seen = visit_sockets(process.pid(), [&](int fd, ino_t ino) {
    const Fd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process.fd(), fd, 0)));
    refused = !copy && (errno == EPERM || errno == EACCES || errno == ENOSYS);
    lacking = lacking || (!copy && (errno == EMFILE || errno == ENFILE || errno == ENOMEM));
    if (copy) found.push_back(examine(copy, fd, ino));
    return !refused && found.size() < kMostSockets;
  });
  if (refused) return sockets_by_tables(process);
  return answer(seen && !lacking, std::move(found), process);
}

std::optional<std::vector<ino_t>> socket_inodes_of(pid_t pid) {
  std::vector<ino_t> found;
  const bool seen = visit_sockets(pid, [&](int, ino_t ino) {
    found.push_back(ino);
    return true;
  });
  if (!seen) return std::nullopt;
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace drover::os
