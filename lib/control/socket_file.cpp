#include "lib/control/socket_file.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "lib/control/address.h"
#include "lib/control/folder_lock.h"
#include "lib/os/error.h"

namespace drover::control {
namespace {

/// A file that is removed as a dead one's may be another's again before we have bound.
constexpr int kAttempts = 50;

std::optional<struct stat> file_in(int folder, const std::string& name) noexcept {
  struct stat st {};
  if (::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return st;
}

os::Fd make_socket(const std::string& path) {
  os::Fd made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) throw Error(errno, "make socket", path);
  return made;
}

/// Removes the file at `path` when it is a socket that nobody listens on; throws Error otherwise.
void remove_dead(int folder, const std::string& name, const std::string& path,
                 const Address& address) {
  const auto found = file_in(folder, name);
  if (!found) return;  // it went by itself
  if (!S_ISSOCK(found->st_mode))
    throw Error::because(EEXIST, "make socket", path, "a file that is no socket is there",
                         "choose another name, or remove the file");
  const os::Fd probe = make_socket(path);
  const int failed = ::connect(probe.get(), address.get(), address.size()) == 0 ? 0 : errno;
  if (failed == ENOENT) return;
  if (failed != 0 && failed != EAGAIN && failed != EPROTOTYPE && failed != ECONNREFUSED)
    throw Error(failed, "ask who answers at socket", path);
  if (failed != ECONNREFUSED)
    throw Error::because(EADDRINUSE, "make socket", path, "another process answers there");
  if (::unlinkat(folder, name.c_str(), 0) != 0 && errno != ENOENT)
    throw Error(errno, "remove the dead socket", path);
}

}  // namespace

SocketFile::SocketFile(const std::string& path) : path_(os::absolute(path)) {
  const auto [folder, name] = os::split_path(path_);
  name_ = name;
  const Address address(path_);
  folder_ = os::try_open(folder, O_PATH | O_DIRECTORY);
  if (!folder_) throw Error(errno, "open the folder of socket", path_);
  socket_ = make_socket(path_);
  // bind(2) makes the file with the mode of the socket itself less the umask (net/unix/af_unix.c):
  // no change of the umask, which all threads and children share, and no moment with another mode.
  if (::fchmod(socket_.get(), 0600) != 0) throw Error(errno, "set the mode of socket", path_);

  // Two servers that start at once must not both take the same file for a dead one's: the second
  // would remove the first one's.
  const os::Fd locked = lock_folder(folder);
  for (int attempt = 0; ::bind(socket_.get(), address.get(), address.size()) != 0; ++attempt) {
    if (errno != EADDRINUSE || attempt == kAttempts) throw Error(errno, "make socket", path_);
    remove_dead(folder_.get(), name_, path_, address);
  }
  if (const auto made = file_in(folder_.get(), name_)) id_ = os::id_of(*made);
  if (::listen(socket_.get(), SOMAXCONN) != 0) {
    const int failed = errno;
    remove();
    throw Error(failed, "listen on socket", path_);
  }
}

SocketFile::~SocketFile() { remove(); }

void SocketFile::remove() noexcept {
  // While the socket is open its inode's number is not given to another file, and nobody takes the
  // file for a dead one's.
  const auto found = file_in(folder_.get(), name_);
  if (found && os::id_of(*found) == id_) ::unlinkat(folder_.get(), name_.c_str(), 0);
}

}  // namespace drover::control
