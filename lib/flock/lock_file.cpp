#include "lib/flock/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

#include "lib/flock/holders.h"
#include "lib/flock/wait.h"
#include "lib/os/error.h"
#include "lib/os/signals.h"

namespace drover::flock {
namespace {

using os::Fd;

constexpr int kOpenFlags = O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
constexpr auto kWaiterInstant = std::chrono::milliseconds(250);

[[noreturn]] void throw_open_error(int err, const std::string& path) {
  if (err == ELOOP)
    throw Error::because(err, "open lock file", path, "it is a symbolic link",
                         "name the file itself; drover follows no link in a lock's last name");
  if (err == EACCES) {
    throw Error(err, "open lock file", path,
                ::geteuid() == 0
                    ? "in a sticky folder see the sysctl fs.protected_regular"
                    : "the lock file belongs to the user that runs the server (mode 0600)");
  }
  throw Error(err, "open lock file", path);
}

/// NFS emulates flock with record locks and wants a descriptor open for writing (flock(2)).
[[gnu::noinline]] bool reopen_for_writing(LockFile& file) {
  Fd again = os::try_open("/proc/self/fd/" + std::to_string(file.fd()), O_RDWR | O_NOCTTY);
  if (!again) return false;
  file.replace_descriptor(std::move(again));
  return true;
}

/// One flock(2) call; 0 or an errno value.
int lock_once(LockFile& file, int operation) {
  for (bool reopened = false;;) {
    if (::flock(file.fd(), operation) == 0) return 0;
    // A lock on another open file description would not be the caller's.
    if (errno != EBADF || reopened || file.adopted() || !reopen_for_writing(file)) return errno;
    reopened = true;
  }
}

[[noreturn]] void throw_lock_error(int err, const LockFile& file) {
  if (err == EBADF && file.adopted())
    throw Error::because(err, "lock", file.path(),
                         "the given descriptor cannot carry a lock: it is to be opened for reading "
                         "and writing");
  throw Error(err, "lock", file.path(),
              err == ENOLCK ? "the file system has no locks; put the lock file under /run" : "");
}

int operation_of(Mode mode) { return mode == Mode::shared ? LOCK_SH : LOCK_EX; }

Acquired acquire_until(LockFile& file, Mode mode, os::Deadline deadline) {
  const os::Interrupter interrupter(deadline);
  for (;;) {
    const int err = lock_once(file, operation_of(mode));
    if (err == 0) return Acquired::yes;
    if (err != EINTR) throw_lock_error(err, file);
    if (deadline && std::chrono::steady_clock::now() >= *deadline) return Acquired::timed_out;
  }
}

void unlock(LockFile& file) {
  while (::flock(file.fd(), LOCK_UN) != 0)
    if (errno != EINTR) throw_lock_error(errno, file);
}

/// One attempt that gives the exclusive instants of waiters time to pass.
bool try_patiently(LockFile& file, Mode mode) {
  const auto limit = std::chrono::steady_clock::now() + kWaiterInstant;
  return acquire_until(file, mode, limit) == Acquired::yes;
}

}  // namespace

LockFile::LockFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {
  const struct stat st = os::stat_of(fd_.get(), path_);
  if (!S_ISREG(st.st_mode)) {
    const char* kind = S_ISDIR(st.st_mode)    ? "it is a directory"
                       : S_ISFIFO(st.st_mode) ? "it is a FIFO"
                       : S_ISSOCK(st.st_mode) ? "it is a socket"
                                              : "it is a device";
    throw Error::because(S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "open lock file", path_, kind,
                         "a lock file is a regular file of its own, like PIDFILE.lock");
  }
  id_ = os::id_of(st);
}

std::optional<LockFile> LockFile::open(const std::string& path) {
  Fd fd = os::try_open(path, O_RDONLY | kOpenFlags);
  if (fd) return LockFile(std::move(fd), path);
  if (errno == ENOENT) return std::nullopt;
  if (errno == ENXIO) throw Error::because(EINVAL, "open lock file", path, "it is a socket");
  throw_open_error(errno, path);
}

std::optional<LockFile> LockFile::create(const std::string& path, mode_t mode) {
  Fd fd = os::try_open(path, O_RDONLY | O_CREAT | O_EXCL | kOpenFlags, mode);
  if (!fd && errno == EEXIST) return std::nullopt;
  if (!fd)
    throw Error(errno, "create lock file", path,
                errno == ENOENT ? "the folder must exist before the server starts" : "");
  const bool masked = (os::stat_of(fd.get(), path).st_mode & 07777) != mode;
  if (masked && ::fchmod(fd.get(), mode) != 0) throw Error(errno, "set the mode of", path);
  return LockFile(std::move(fd), path);
}

LockFile LockFile::open_or_create(const std::string& path, mode_t mode) {
  for (;;) {
    if (auto existing = open(path)) return std::move(*existing);
    if (auto created = create(path, mode)) return std::move(*created);
  }
}

LockFile LockFile::adopt(int fd, std::string path) {
  Fd own = os::duplicate(fd, 3, false);
  if (!own) throw Error(errno, "use descriptor", std::to_string(fd));
  LockFile file(std::move(own), std::move(path));
  file.adopted_ = true;
  return file;
}

timespec LockFile::touched() const { return os::stat_of(fd(), path_).st_mtim; }

void LockFile::touch() const noexcept { (void)::futimens(fd(), nullptr); }

std::string LockFile::doubtful_file_system() const {
  struct statfs fs {};
  if (::fstatfs(fd(), &fs) != 0) return {};
  // Magic numbers of statfs(2); virtiofs reports FUSE's.
  struct Doubtful {
    unsigned long magic;
    const char* name;
  };
  constexpr std::array kDoubtful = {
      Doubtful{0x6969, "nfs"},     Doubtful{0xFF534D42, "cifs"}, Doubtful{0xFE534D42, "smb2"},
      Doubtful{0x01021997, "9p"},  Doubtful{0x65735546, "fuse"}, Doubtful{0x00C36400, "ceph"},
      Doubtful{0x5346414F, "afs"},
  };
  for (const auto& [magic, name] : kDoubtful)
    if ((static_cast<unsigned long>(fs.f_type) & 0xFFFFFFFFUL) == magic) return name;
  return {};
}

bool try_acquire(LockFile& file, Mode mode) {
  int err;
  do {
    err = lock_once(file, operation_of(mode) | LOCK_NB);
  } while (err == EINTR);
  if (err != 0 && err != EWOULDBLOCK) throw_lock_error(err, file);
  return err == 0;
}

Acquired acquire(LockFile& file, Mode mode, const Patience& patience) {
  if (try_acquire(file, mode)) return Acquired::yes;
  if (patience.kind != Patience::Kind::none) {
    refuse_inside_held_tree(locks_held_above(), file);
    return acquire_until(file, mode, patience.deadline);
  }
  const auto wanted = mode == Mode::shared ? LockMode::shared : LockMode::exclusive;
  if (look_for_holder(file.id(), wanted) == Sight::holder) return Acquired::busy;
  return try_patiently(file, mode) ? Acquired::yes : Acquired::busy;
}

void wait_until_free(LockFile& file) {
  // Small on purpose: a thousand threads blocked here fit into one page of stack each.
  int err;
  do {
    err = lock_once(file, LOCK_EX);
  } while (err == EINTR);
  if (err != 0) throw_lock_error(err, file);
  unlock(file);
}

bool is_held(LockFile& file) {
  if (!try_acquire(file, Mode::exclusive)) {
    if (look_for_holder(file.id(), LockMode::exclusive) == Sight::holder) return true;
    if (is_listed_as_shared(file.id()) || !try_patiently(file, Mode::exclusive)) return true;
  }
  unlock(file);
  return false;
}

}  // namespace drover::flock
