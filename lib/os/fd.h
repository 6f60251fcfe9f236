// File descriptors: owned, close-on-exec from birth, and identified by the file they name.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <compare>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace drover::os {

/// Owns one descriptor. Move-only; the destructor closes it and keeps errno.
class Fd {
 public:
  Fd() noexcept = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// Which file: the same pair for every name, descriptor and process.
struct FileId {
  dev_t dev = 0;
  ino_t ino = 0;
  friend auto operator<=>(const FileId&, const FileId&) = default;
};

/// open(2), close-on-exec, retried on EINTR. Empty on failure, errno says why.
Fd try_open(const std::string& path, int flags, mode_t mode = 0) noexcept;

/// fstat(2) of a descriptor that is open. Throws Error when it is not.
struct stat stat_of(int fd, const std::string& subject);
/// The file that `path` names now, symbolic links not followed. Empty when there is none.
std::optional<FileId> file_at(const std::string& path) noexcept;
inline FileId id_of(const struct stat& st) noexcept { return {st.st_dev, st.st_ino}; }

/// A duplicate on the lowest free descriptor that is at least `lowest`; inherited across exec when
/// `inherit`. Empty on failure, errno says why (EINVAL: `lowest` is above the soft limit).
Fd duplicate(int fd, int lowest, bool inherit) noexcept;
/// Whether the descriptor survives exec. Throws Error when it is not open.
void set_inherited(int fd, bool inherited);
bool is_open(int fd) noexcept;
/// Closes every descriptor but 0, 1, 2 and those of `kept`, which is sorted; it may hold -1 and one
/// twice. close_range(2); needs Linux 5.9, else it does nothing. Async-signal-safe.
void close_all_but(std::span<const int> kept) noexcept;

/// While it lives, the soft limit of descriptors is the hard one; then the old soft limit is back.
/// Does nothing when the limit cannot be read or changed.
class RaisedDescriptorLimit {
 public:
  RaisedDescriptorLimit() noexcept;
  ~RaisedDescriptorLimit();
  RaisedDescriptorLimit(const RaisedDescriptorLimit&) = delete;
  RaisedDescriptorLimit& operator=(const RaisedDescriptorLimit&) = delete;

 private:
  std::optional<unsigned long> soft_;
};

/// `path` made absolute by the current directory, without resolving links. Throws Error when the
/// current directory is gone and `path` is relative.
std::string absolute(const std::string& path);
/// The same with the links in its folder resolved, as /proc/PID/fd shows it; `path` as it is when
/// the folder cannot be found.
std::string canonical(const std::string& path);
/// Where the last name of `path` stands: "a/b" gives {"a", "b"}, "b" gives {".", "b"}.
std::pair<std::string, std::string> split_path(const std::string& path);

}  // namespace drover::os
