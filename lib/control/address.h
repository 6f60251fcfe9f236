// The address of a UNIX socket file, also where its path is longer than an address has room for.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "lib/os/fd.h"

namespace drover::control {

/// For bind(2) and connect(2). sun_path has room for 107 bytes (unix(7)); the file of a longer path
/// is reached by its folder's descriptor, /proc/self/fd/N/NAME, which is open while this lives.
class Address {
 public:
  /// Throws Error: no name, a NUL byte in it, a name of more than some 85 bytes below a long path,
  /// a folder that cannot be opened.
  explicit Address(const std::string& path);

  [[nodiscard]] const sockaddr* get() const noexcept {
    return reinterpret_cast<const sockaddr*>(&address_);
  }
  [[nodiscard]] socklen_t size() const noexcept { return size_; }

 private:
  os::Fd folder_;
  sockaddr_un address_{};
  socklen_t size_ = 0;
};

}  // namespace drover::control
