// One process, held fast: a pid together with a pidfd, so that the number can never come to mean
// another process between a look and a signal.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "lib/os/clock.h"
#include "lib/os/fd.h"

namespace drover::os {

/// How a process ended: a wait(2) status.
struct ExitStatus {
  int wait_status = 0;
  /// "exited with status 3", "was killed by SIGKILL", "... (core dumped)".
  [[nodiscard]] std::string describe() const;
  /// The shell's number: n, or 128 + signal.
  [[nodiscard]] int shell_code() const noexcept;
};

class Process {
 public:
  /// pidfd_open(2). Empty when there is no such process now, when `pid` is not positive, or when
  /// the kernel is older than Linux 5.3 (errno says which).
  static std::optional<Process> open(pid_t pid) noexcept;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// False once every thread of it has ended, reaped or not: a zombie is dead.
  [[nodiscard]] bool alive() const noexcept;
  /// pidfd_send_signal(2). False when it is gone. Throws Error when the system refuses (EPERM).
  [[nodiscard]] bool signal(int number) const;
  /// Whether the system would let us signal it; true also when it is gone.
  [[nodiscard]] bool may_signal() const noexcept;
  /// Blocks until it has ended, its descriptors and sockets closed. False at the deadline.
  [[nodiscard]] bool wait_dead(Deadline deadline = std::nullopt) const;
  /// How it ended, also when it is not our child: PIDFD_GET_INFO with PIDFD_INFO_EXIT (Linux 6.15).
  /// The kernel has the answer only after the parent has reaped it: waits for that at most until
  /// `deadline`. Empty when the kernel does not tell.
  [[nodiscard]] std::optional<ExitStatus> exit_status(Deadline deadline) const;

 private:
  Process(pid_t pid, Fd fd) noexcept : pid_(pid), fd_(std::move(fd)) {}

  pid_t pid_;
  Fd fd_;
};

}  // namespace drover::os
