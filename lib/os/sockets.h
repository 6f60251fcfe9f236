// The sockets of another process: which of them listen, which are connected, and by which address.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/os/process.h"

namespace drover::os {

/// The own end of a socket.
struct SocketAddress {
  int family = 0;     ///< AF_INET, AF_INET6, AF_UNIX; 0 for any other
  std::string host;   ///< 4 or 16 bytes in network order; the path, or "@name", of a UNIX socket
  uint16_t port = 0;  ///< 0 for UNIX sockets
  friend bool operator==(const SocketAddress&, const SocketAddress&) = default;

  /// Whether a connection with the own end `connection` came in at a listening socket with this
  /// address: the same one, or the same port of a socket that listens on every address.
  [[nodiscard]] bool takes(const SocketAddress& connection) const;
};

struct ForeignSocket {
  int fd = -1;    ///< its number in that process
  ino_t ino = 0;  ///< of sockfs: the same for every duplicate, in whichever process
  bool listening = false;
  bool connected = false;  ///< a stream with somebody at the other end
  SocketAddress local;
};

/// The sockets that a process has open, the first 1024 of them, by descriptor. Does not block, and
/// the process notices nothing. Each is looked at through a copy of the descriptor (pidfd_getfd(2),
/// Linux 5.6), which is closed at once: a copy that stayed would keep the port. Where the kernel
/// refuses that, what /proc/PID/net tells by inode takes its place: only TCP and UNIX sockets, and
/// of each kind the first megabyte, which begins with those that listen. Empty when the descriptors
/// cannot be seen at all (PTRACE_MODE_READ, ptrace(2)); no sockets when the process is gone.
std::optional<std::vector<ForeignSocket>> sockets_of(const Process& process);
/// As it is where the kernel refuses copies.
std::optional<std::vector<ForeignSocket>> sockets_by_tables(const Process& process);

/// The inodes of the sockets that a process has open, ascending. Empty when that cannot be seen, or
/// when the process is gone.
std::optional<std::vector<ino_t>> socket_inodes_of(pid_t pid);

/// The rows of a table in /proc/PID/net that listen or are connected; fd is -1. `family` says which
/// table: AF_INET (tcp), AF_INET6 (tcp6), AF_UNIX (unix).
std::vector<ForeignSocket> parse_socket_table(int family, std::string_view table);

}  // namespace drover::os
