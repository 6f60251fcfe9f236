#include "lib/os/fd.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>

#include "lib/os/error.h"

namespace drover::os {

void Fd::reset(int fd) noexcept {
  if (fd_ >= 0) {
    const int saved = errno;
    // Linux frees the descriptor even when close() reports EINTR: never retried.
    ::close(fd_);
    errno = saved;
  }
  fd_ = fd;
}

Fd try_open(const std::string& path, int flags, mode_t mode) noexcept {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return Fd(fd);
}

struct stat stat_of(int fd, const std::string& subject) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) throw Error(errno, "examine", subject);
  return st;
}

std::optional<FileId> file_at(const std::string& path) noexcept {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return std::nullopt;
  return id_of(st);
}

Fd duplicate(int fd, int lowest, bool inherit) noexcept {
  return Fd(::fcntl(fd, inherit ? F_DUPFD : F_DUPFD_CLOEXEC, lowest));
}

void set_inherited(int fd, bool inherited) {
  if (::fcntl(fd, F_SETFD, inherited ? 0 : FD_CLOEXEC) != 0)
    throw Error(errno, "use descriptor", std::to_string(fd));
}

bool is_open(int fd) noexcept { return ::fcntl(fd, F_GETFD) >= 0; }

void close_all_but(std::span<const int> kept) noexcept {
  int next = STDERR_FILENO + 1;
  for (const int fd : kept) {
    if (fd > next) ::syscall(SYS_close_range, next, fd - 1, 0);
    if (fd >= next) next = fd + 1;
  }
  ::syscall(SYS_close_range, next, ~0U, 0);
}

RaisedDescriptorLimit::RaisedDescriptorLimit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  const rlim_t soft = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) == 0) soft_ = soft;
}

RaisedDescriptorLimit::~RaisedDescriptorLimit() {
  rlimit limit{};
  if (!soft_ || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = *soft_;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string absolute(const std::string& path) {
  if (!path.empty() && path.front() == '/') return path;
  char here[PATH_MAX];
  if (::getcwd(here, sizeof here) == nullptr)
    throw Error(errno, "make absolute", path, "the current directory may have been deleted");
  return std::string(here) + "/" + path;
}

std::string canonical(const std::string& path) {
  const auto [folder, name] = split_path(path);
  char* const resolved = ::realpath(folder.c_str(), nullptr);
  if (resolved == nullptr) return path;
  const std::string folder_path = resolved;
  std::free(resolved);
  return (folder_path == "/" ? folder_path : folder_path + "/") + name;
}

std::pair<std::string, std::string> split_path(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace drover::os
