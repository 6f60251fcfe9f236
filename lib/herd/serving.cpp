#include "lib/herd/serving.h"

#include <algorithm>
#include <cerrno>

#include "lib/os/awaited.h"
#include "lib/os/process.h"
#include "lib/os/procfs.h"
#include "lib/os/sockets.h"

namespace drover::herd {
namespace {

using Sockets = std::vector<os::ForeignSocket>;

/// A connection came in at a socket of `listening`, and was not inherited from the master.
bool has_accepted(const Sockets& sockets, const Sockets& listening,
                  const std::vector<ino_t>& of_master) {
  return std::any_of(sockets.begin(), sockets.end(), [&](const os::ForeignSocket& socket) {
    return socket.connected &&
           !std::binary_search(of_master.begin(), of_master.end(), socket.ino) &&
           std::any_of(listening.begin(), listening.end(),
                       [&](const os::ForeignSocket& at) { return at.local.takes(socket.local); });
  });
}

Serving look(const os::Process& worker, pid_t master) {
  const auto sockets = os::sockets_of(worker);
  std::optional<std::vector<ino_t>> of_master(std::in_place);
  if (master != 0) of_master = os::socket_inodes_of(master);
  if (!sockets || !of_master) return Serving::unknown;

  Sockets listening;
  for (const os::ForeignSocket& socket : *sockets)
    if (socket.listening &&
        (master == 0 || std::binary_search(of_master->begin(), of_master->end(), socket.ino)))
      listening.push_back(socket);
  if (listening.empty()) return Serving::not_yet;
  if (has_accepted(*sockets, listening, *of_master)) return Serving::yes;

  const auto visited = os::visit_awaited(worker.pid(), [&](int fd) {
    return std::none_of(listening.begin(), listening.end(),
                        [fd](const os::ForeignSocket& socket) { return socket.fd == fd; });
  });
  if (visited == os::Visited::stopped) return Serving::yes;
  return visited == os::Visited::hidden ? Serving::unknown : Serving::not_yet;
}

}  // namespace

Serving look_whether_serving(pid_t pid, pid_t master) {
  const auto process = os::Process::open(pid);
  if (!process)
    return errno == ESRCH || errno == EINVAL || errno == ENOENT ? Serving::not_yet
                                                                : Serving::unknown;
  const Serving seen = os::proc_is_ours() ? look(*process, master) : Serving::unknown;
  // Alive after the look: then /proc has told of this process, not of a successor with its number.
  return process->alive() ? seen : Serving::not_yet;
}

}  // namespace drover::herd
