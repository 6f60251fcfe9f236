#include "lib/os/inotify.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "lib/os/error.h"

namespace drover::os {

Inotify::Inotify() : fd_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
  if (!fd_) throw Error(errno, "watch folders", {}, "see the sysctl fs.inotify.max_user_instances");
}

int Inotify::watch(const std::string& folder, uint32_t mask) {
  const int watch = ::inotify_add_watch(fd_.get(), folder.c_str(), mask | IN_ONLYDIR);
  if (watch < 0) throw Error(errno, "watch folder", folder);
  return watch;
}

void Inotify::read(const std::function<void(int, uint32_t, std::string_view)>& visit) const {
  alignas(inotify_event) std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t size = ::read(fd_.get(), buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      visit(event->wd, event->mask, event->len > 0 ? event->name : "");
      at += static_cast<ssize_t>(sizeof *event + event->len);
    }
  }
}

}  // namespace drover::os
