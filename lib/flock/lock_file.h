// The lock file: how it is opened, and what is locked. flock(2) locks belong to the open file
// description, so every duplicate and every process that inherited the descriptor shares the lock.
// drover never truncates a lock file, never removes one, and never calls LOCK_UN on a descriptor
// that it shares: closing is the only way in which it lets go.
#pragma once

#include <optional>
#include <string>

#include "lib/os/clock.h"
#include "lib/os/fd.h"

namespace drover::flock {

enum class Mode { shared, exclusive };

/// How long to wait for a lock.
struct Patience {
  enum class Kind { forever, none, until } kind = Kind::forever;
  os::Deadline deadline;

  static Patience forever() { return {}; }
  static Patience none() { return {Kind::none, {}}; }
  static Patience until(os::Deadline moment) { return {Kind::until, moment}; }
};

enum class Acquired { yes, busy, timed_out };

/// An open lock file and the path under which it was found.
class LockFile {
 public:
  /// Opens a file that exists. Empty when there is none; throws Error for anything that is not a
  /// regular file (symbolic links included) or cannot be opened. Never blocks, a FIFO included.
  static std::optional<LockFile> open(const std::string& path);
  /// Makes it, empty, with exactly `mode`, whatever the umask. Empty when there is one already.
  static std::optional<LockFile> create(const std::string& path, mode_t mode);
  /// Opens it or makes it. First without O_CREAT: in a sticky folder fs.protected_regular forbids
  /// O_CREAT on another user's file, even to root.
  static LockFile open_or_create(const std::string& path, mode_t mode);
  /// A descriptor that somebody else opened, and whose open file description is to be locked, no
  /// other. Throws Error when it is no regular file.
  static LockFile adopt(int fd, std::string path);

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] bool adopted() const noexcept { return adopted_; }
  [[nodiscard]] const os::FileId& id() const noexcept { return id_; }
  /// Whether the path still names this very file; false when it was removed or replaced.
  [[nodiscard]] bool at_path() const noexcept { return os::file_at(path_) == id_; }
  /// The time of the last arrival: every drover holder touches the file once it has the lock.
  [[nodiscard]] timespec touched() const;
  /// Says that a holder has arrived. Failure is ignored: it needs write permission.
  void touch() const noexcept;
  /// "nfs", "cifs", "9p", "virtiofs", "fuse" where a lock may not reach every process; else empty.
  [[nodiscard]] std::string doubtful_file_system() const;

  [[nodiscard]] os::Fd release() noexcept { return std::move(fd_); }
  /// Another descriptor of the same file takes the place of the one held.
  void replace_descriptor(os::Fd fd) noexcept { fd_ = std::move(fd); }
  /// The file was renamed to `path`.
  void renamed_to(std::string path) { path_ = std::move(path); }

 private:
  LockFile(os::Fd fd, std::string path);

  os::Fd fd_;
  std::string path_;
  os::FileId id_;
  bool adopted_ = false;
};

/// flock(2) on the file. Blocks as long as `patience` says; signals with a handler do not end the
/// wait. Without patience, a waiter's brief exclusive instant is not "busy": when no holder in
/// sight stands in the way and yet it cannot be had, up to 250 ms are given to such waiters. Throws
/// Error when the file system refuses (ENOLCK, EIO ...), EDEADLK before a wait for a lock that this
/// process or one above it holds.
Acquired acquire(LockFile& file, Mode mode, const Patience& patience);

/// One attempt, at once. On `yes` the caller has the lock until it closes the file.
bool try_acquire(LockFile& file, Mode mode);

/// Blocks until no process holds the file, by having the exclusive lock for an instant. The
/// caller's own descriptor must be one that nobody shares. Not ended by signals that have a
/// handler.
void wait_until_free(LockFile& file);
/// Whether a process holds the file now. Another waiter's exclusive instant is not holding: where
/// no shared holder is known, such instants get up to 250 ms to pass. Reads /proc when it is held.
bool is_held(LockFile& file);

}  // namespace drover::flock
