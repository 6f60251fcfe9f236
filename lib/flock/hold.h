// Taking a lock that a command and all its children will inherit.
#pragma once

#include <string>
#include <vector>

#include "lib/flock/lock_file.h"

namespace drover::flock {

/// Where the descriptor goes. A high one (1025 and up) survives unicorn's re-exec, which closes
/// 3..1024, and daemons that close "all" up to the soft limit; a low one is released after the
/// sockets at exit, so that the port is free the moment the lock is. (tests/servers, tests/bench)
struct Placement {
  enum class Kind { high, low, exactly } kind = Kind::high;
  int number = 0;  ///< for `exactly`
};

struct HoldRequest {
  std::string path;
  Mode mode = Mode::shared;
  Patience patience = {};
  Placement placement = {};
  mode_t file_mode = 0600;
  bool new_generation = false;
  int first_free = 3;  ///< descriptors below are the command's: 3 + LISTEN_FDS
};

struct Hold {
  Acquired acquired = Acquired::yes;
  std::string path;     ///< absolute
  os::Fd fd;            ///< inherited across exec; the lock lasts while any copy of it is open
  bool nested = false;  ///< the caller had the lock already: `fd` is the inherited descriptor
  std::vector<std::string> warnings;
};

/// The first descriptor that does not belong to socket activation: 3 + $LISTEN_FDS
/// (sd_listen_fds(3)). `listen_fds` is that variable's value, or null.
int first_free_descriptor(const char* listen_fds) noexcept;

/// Throws Error (EINVAL) when the file is a server's pidfile that is mistaken for its lock: the
/// server replaces it, and whoever comes later would lock another file.
void refuse_pidfile(const std::string& path);

/// Takes the lock and makes its descriptor ready to be inherited. Blocks as `patience` says. Throws
/// Error. Marks the arrival by the file's modification time once the lock is held.
/// When the process has inherited a lock of the same file, from whomever, that one is kept, where
/// it is or on a further descriptor that is placed as asked: no second lock.
Hold hold(const HoldRequest& request);

/// Locks a descriptor that the caller's parent opened, for as long as its open file description
/// lives. When `path` is not empty the descriptor must name the file there.
Acquired adopt(int fd, const std::string& path, Mode mode, const Patience& patience);

}  // namespace drover::flock
