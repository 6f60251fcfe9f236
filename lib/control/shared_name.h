// One name for the sockets of several servers of a kind: the newest is found by it, and when that
// one ends, the newest that is left. No client is refused in between.
#pragma once

#include <string>
#include <vector>

#include "lib/os/fd.h"

namespace drover::control {

/// "app.812.sock" for "app.sock": the name of a server's own socket beside the shared one.
std::string own_name(const std::string& shared, int pid);

/// The shared name leads to a server's own socket, until another server takes it.
class SharedName {
 public:
  /// `own` is own_name(shared, pid), and listens. What was found at the shared name is replaced if
  /// it is a socket of such a server, or of a dead one; own sockets of dead servers are removed.
  /// Blocks for a second at most, while another server changes the folder. Throws Error: EEXIST
  /// when something else is there, EADDRINUSE when a server of another kind answers there; both are
  /// left alone.
  SharedName(const std::string& shared, const std::string& own);
  /// Hands the name back to the newest of the other servers that answer, or removes it. Does
  /// nothing when another has taken it.
  ~SharedName();
  SharedName(const SharedName&) = delete;
  SharedName& operator=(const SharedName&) = delete;

  /// Absolute.
  [[nodiscard]] const std::string& path() const noexcept { return shared_; }

 private:
  /// The socket file at `own` gets the shared name as well, in one step.
  void lead_to(const std::string& own) const;
  /// The socket files of other servers, dead ones as well.
  [[nodiscard]] std::vector<std::string> others() const;
  [[nodiscard]] bool is_shared(const os::FileId& id) const;
  [[nodiscard]] std::string newest_other() const;

  std::string shared_;
  std::string own_;
  os::FileId id_;
};

}  // namespace drover::control
