// The hot reload: the master starts its own program anew, and the new one gets the listening
// sockets.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "examples/prefork/faults.h"
#include "examples/prefork/listener.h"

namespace drover::prefork {

/// How this program was started: what has to be remembered to start it once more.
struct Start {
  std::string program;  ///< absolute; symbolic links in it are followed at each start
  std::vector<std::string> arguments;  ///< argv
  std::string folder;  ///< as the shell named it: "current" may be another one later
};
/// Throws Error when the current folder is gone.
Start remember_start(int argc, char** argv);

/// What a master gets from the one before.
struct Inheritance {
  int generation = 0;  ///< reloads before this one
  pid_t old_master = 0;
  std::vector<Listener> listeners;

  /// The old master is this one's parent for as long as it lives, then somebody else is.
  [[nodiscard]] bool old_master_lives() const noexcept;
};
/// Reads and removes PREFORK_FD, PREFORK_GENERATION and PREFORK_OLD_MASTER: they are meant for this
/// process and not for its children.
Inheritance take_inheritance();

/// Starts the program anew as a child, with the listeners in its hands. All descriptors that are
/// not close-on-exec stay open in it, whoever they belong to: so survives the lock of drover-hold.
/// Blocks until the program was executed. Throws Error.
pid_t start_successor(const Start& start, const std::vector<Listener>& listeners, int generation,
                      const Faults& faults);

}  // namespace drover::prefork
