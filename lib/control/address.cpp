#include "lib/control/address.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "lib/os/error.h"

namespace drover::control {

Address::Address(const std::string& path) {
  const auto [folder, name] = os::split_path(path);
  // A path that begins with NUL would be an address without a file, in reach of every user.
  if (name.empty() || path.find('\0') != std::string::npos)
    throw Error::because(EINVAL, "use socket", path, "it is no name of a file");
  std::string usable = path;
  if (usable.size() >= sizeof address_.sun_path) {
    folder_ = os::try_open(folder, O_PATH | O_DIRECTORY);
    if (!folder_) throw Error(errno, "open the folder of socket", path);
    usable = fmt::format("/proc/self/fd/{}/{}", folder_.get(), name);
  }
  if (usable.size() >= sizeof address_.sun_path)
    throw Error(ENAMETOOLONG, "use socket", path, "give the socket a shorter name");
  address_.sun_family = AF_UNIX;
  std::memcpy(address_.sun_path, usable.c_str(), usable.size() + 1);
  size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + usable.size() + 1);
}

}  // namespace drover::control
