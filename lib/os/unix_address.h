// Addresses of UNIX domain sockets: unix(7).
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <optional>
#include <string_view>

namespace drover::os {

struct UnixAddress {
  sockaddr_un name{};
  socklen_t size = 0;
  [[nodiscard]] const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&name);
  }
};

/// The longest path that fits into an address, without the NUL that ends it.
constexpr size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;

/// The address of the socket at a path or, with "@" in front, of an abstract one. Empty when the
/// name is empty or has no room in an address; errno says which (EINVAL, ENAMETOOLONG).
std::optional<UnixAddress> unix_address(std::string_view name) noexcept;

}  // namespace drover::os
