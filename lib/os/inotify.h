// inotify(7): what happens to the names in a folder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lib/os/fd.h"

namespace drover::os {

/// Closing one that has a watch takes the kernel 7 to 15 ms (measured, Linux 6.18), also at process
/// exit: whoever must end at once closes it before, or uses lib/os/folder_signal.h.
class Inotify {
 public:
  Inotify();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// Watches a folder; the same folder gives the same watch. Throws Error when it is not there.
  int watch(const std::string& folder, uint32_t mask);
  /// Hands every event that is waiting to `visit`: watch, mask (IN_*), name. Does not block.
  void read(const std::function<void(int, uint32_t, std::string_view)>& visit) const;

 private:
  Fd fd_;
};

}  // namespace drover::os
