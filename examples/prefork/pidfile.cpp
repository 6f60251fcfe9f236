#include "examples/prefork/pidfile.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "examples/prefork/log.h"
#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::prefork {
namespace {

/// 0 when there is no file, or no number in it.
pid_t read_pid(const std::string& path) {
  pid_t pid = 0;
  std::ifstream(path) >> pid;
  return pid;
}

/// Whether that is a living master. Its title tells: after a crash or a reboot the number in a file
/// may belong to anybody, and nobody could start any more.
bool is_master(pid_t pid) {
  std::ifstream stream(fmt::format("/proc/{}/cmdline", pid));
  const std::string title(std::istreambuf_iterator<char>(stream), {});
  return pid != ::getpid() && title.starts_with("prefork master");
}

void rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) throw Error(errno, "write pidfile", to);
}

}  // namespace

Pidfile::Pidfile(std::string path) : path_(std::move(path)) {}

void Pidfile::write_to(const std::string& target) {
  const std::string text = fmt::format("{}\n", ::getpid());
  const std::string temporary = fmt::format("{}.{}.new", target, ::getpid());
  const os::Fd file = os::try_open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
  if (!file) throw Error(errno, "write pidfile", target);
  const ssize_t size = ::write(file.get(), text.data(), text.size());
  const bool whole = size == static_cast<ssize_t>(text.size());
  if (!whole || ::rename(temporary.c_str(), target.c_str()) != 0) {
    const int err = whole || size < 0 ? errno : ENOSPC;
    ::unlink(temporary.c_str());
    throw Error(err, "write pidfile", target);
  }
  current_ = target;
}

void Pidfile::write() {
  if (path_.empty()) return;
  if (const pid_t named = read_pid(path_); is_master(named))
    throw Error::because(EBUSY, "write pidfile", path_,
                         fmt::format("it is that of process {}, which lives", named));
  write_to(path_);
}

void Pidfile::step_aside() {
  if (path_.empty()) return;
  if (read_pid(path_) == ::getpid()) {
    rename_file(path_, old_path());
    current_ = old_path();
  } else {
    write_to(old_path());
  }
}

void Pidfile::come_back(pid_t successor) {
  if (path_.empty()) return;
  const pid_t named = read_pid(path_);
  if (named == ::getpid()) {
    current_ = path_;
  } else if (named != 0 && named != successor) {
    complain(fmt::format("master: '{}' names process {}: left as it is", path_, named));
  } else if (read_pid(old_path()) == ::getpid()) {
    rename_file(old_path(), path_);
    current_ = path_;
  } else {
    write_to(path_);
  }
}

void Pidfile::remove() noexcept {
  if (!current_.empty() && read_pid(current_) == ::getpid()) ::unlink(current_.c_str());
}

}  // namespace drover::prefork
