// The file by which a server is found: made without a moment in which others may use it, taken over
// from the dead only, removed only while it is still ours.
#pragma once

#include <string>

#include "lib/os/fd.h"

namespace drover::control {

/// A listening UNIX stream socket, non-blocking and close-on-exec, and its file.
class SocketFile {
 public:
  /// The file has mode 0600 from birth, less what the umask takes. One that a dead server left is
  /// replaced. Throws Error: EADDRINUSE when a process answers there, EEXIST when what is there is
  /// no socket (it is left alone), ENAMETOOLONG, and whatever the system says. Blocks for at most a
  /// second, while another server starts in the same folder.
  explicit SocketFile(const std::string& path);
  /// As remove(), and closes the socket.
  ~SocketFile();
  SocketFile(const SocketFile&) = delete;
  SocketFile& operator=(const SocketFile&) = delete;

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  /// Absolute.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  /// Removes the file, unless the path names another one by now. The socket stays open.
  void remove() noexcept;

 private:
  std::string path_;
  std::string name_;
  os::Fd folder_;
  os::Fd socket_;
  os::FileId id_;
};

}  // namespace drover::control
