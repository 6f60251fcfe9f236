#include "lib/os/unix_address.h"

#include <cerrno>
#include <cstddef>

namespace drover::os {

std::optional<UnixAddress> unix_address(std::string_view name) noexcept {
  const bool abstract = name.starts_with('@');
  const size_t longest = abstract ? kLongestSocketPath + 1 : kLongestSocketPath;
  if (name.size() > longest || name.size() <= (abstract ? 1 : 0)) {
    errno = name.size() > longest ? ENAMETOOLONG : EINVAL;
    return std::nullopt;
  }
  UnixAddress address;
  address.name.sun_family = AF_UNIX;
  name.copy(address.name.sun_path, name.size());
  size_t size = offsetof(sockaddr_un, sun_path) + name.size();
  if (abstract) {
    address.name.sun_path[0] = '\0';  // every byte counts there, a NUL at the end as well
  } else {
    ++size;
  }
  address.size = static_cast<socklen_t>(size);
  return address;
}

}  // namespace drover::os
