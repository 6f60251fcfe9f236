// What /proc tells of processes. Every answer may be out of date when it arrives: whoever acts on
// one holds a pidfd taken before (lib/os/process.h).
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/os/fd.h"

namespace drover::os {

/// The fields of /proc/PID/stat that drover uses; proc_pid_stat(5).
struct ProcessStat {
  pid_t pid = 0;
  std::string command;  ///< "comm": at most 15 bytes, any characters
  char state = '?';     ///< R S D Z T t X I
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  unsigned flags = 0;
  /// "cminflt": grows whenever it reaps a child, by the page faults that the child had.
  unsigned long long child_faults = 0;
  int threads = 0;
  unsigned long long start = 0;  ///< clock ticks since boot: with the pid, names one process

  /// PF_EXITING (include/linux/sched.h): it runs exit code and can only vanish.
  [[nodiscard]] bool exiting() const noexcept { return (flags & 0x4U) != 0; }
  [[nodiscard]] bool zombie() const noexcept { return state == 'Z' || state == 'X'; }
  /// PF_FORKNOEXEC: it was forked and has executed nothing since, as most workers.
  [[nodiscard]] bool only_forked() const noexcept { return (flags & 0x40U) != 0; }
};

/// Parses one line of /proc/PID/stat; the command may hold spaces, parentheses and newlines.
std::optional<ProcessStat> parse_stat(std::string_view line);
/// Empty when there is no such process (or /proc hides it).
std::optional<ProcessStat> read_stat(pid_t pid);

/// Reads a file of /proc whole, at most `limit` bytes. Empty when it cannot be read.
std::string read_proc(const std::string& path, size_t limit = 1 << 20);

using Environment = std::map<std::string, std::string>;
/// The environment that the process's image was executed with, whatever it has done to it since:
/// its first 2 MiB, of two with one name the first. Empty when it cannot be read.
Environment environment_of(pid_t pid);
/// The signals that the process has handlers for, signal 1 as bit 0: "SigCgt" in /proc/PID/status.
/// 0 when that cannot be read.
uint64_t caught_signals(pid_t pid);

/// Whether /proc shows the pid namespace of this process. Where it does not (a namespace that was
/// made without a /proc of its own), and where there is none, no number out of it is one for
/// kill(2) or pidfd_open(2), and no number of ours is one for /proc.
bool proc_is_ours() noexcept;

/// All processes visible in /proc, in ascending order. Throws Error when /proc cannot be
/// read, EIO when it is not there.
std::vector<pid_t> all_processes();
/// The thread ids of a process; empty when it is gone.
std::vector<pid_t> threads_of(pid_t pid);
/// The direct children of a process, whichever thread made them; empty when it is gone.
std::vector<pid_t> children_of(pid_t pid);
/// `pid`'s parent, its parent, and so on up to process 1; not `pid` itself.
std::vector<pid_t> ancestors_of(pid_t pid);

/// A directory stream for the numbered names of /proc/PID, /proc/PID/fd and the like.
class NumberedDir {
 public:
  explicit NumberedDir(const std::string& path) noexcept : dir_(::opendir(path.c_str())) {}
  ~NumberedDir() {
    if (dir_ != nullptr) ::closedir(dir_);
  }
  NumberedDir(const NumberedDir&) = delete;
  NumberedDir& operator=(const NumberedDir&) = delete;

  /// False when the folder could not be opened; errno said why.
  explicit operator bool() const noexcept { return dir_ != nullptr; }
  [[nodiscard]] int fd() const noexcept { return ::dirfd(dir_); }
  /// The next number, or -1 at the end.
  int next() noexcept;
  /// An errno value when the end was a failure; 0 otherwise.
  [[nodiscard]] int error() const noexcept { return error_; }

 private:
  DIR* dir_;
  int error_ = 0;
};

/// When the machine was started, in seconds of CLOCK_REALTIME; 0 when /proc/stat does not tell.
long long boot_time();

}  // namespace drover::os
