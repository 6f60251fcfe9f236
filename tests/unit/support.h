// What several unit tests need.
#pragma once

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>

#include "lib/flock/lock_file.h"
#include "lib/os/clock.h"

namespace drover::test {

/// A folder of its own, removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "drover.XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

inline std::string read_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

inline os::Deadline in(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

/// Forks; the child ends with its parent, also when that ends before this call returns.
inline pid_t fork_bound() {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  return 0;
}

/// A child process that runs `body` and then waits to be killed.
class Child {
 public:
  explicit Child(const std::function<void()>& body = [] {}) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    pid_ = fork_bound();
    if (pid_ == 0) {
      body();
      (void)!::write(ends[1], "x", 1);
      for (;;)
        ::pause();
    }
    ::close(ends[1]);
    char ready = 0;
    (void)!::read(ends[0], &ready, 1);
    ::close(ends[0]);
  }
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

/// For a Child that holds the lock on a descriptor of its own; the instant of a waiter may come
/// first.
inline std::function<void()> holding(const std::string& path) {
  return [path] {
    static std::optional<flock::LockFile> kept;
    kept = flock::LockFile::open_or_create(path, 0600);
    (void)flock::acquire(*kept, flock::Mode::shared, flock::Patience::forever());
  };
}

}  // namespace drover::test
