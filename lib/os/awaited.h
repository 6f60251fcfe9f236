// What the threads of another process wait for, as the kernel tells it: nothing is stopped, nothing
// is traced.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace drover::os {

/// A system call that a thread is blocked in.
struct BlockedCall {
  long number = -1;
  std::array<uint64_t, 6> arguments{};
};

/// Parses /proc/PID/task/TID/syscall; proc_pid_syscall(5). Empty when the thread runs, or is
/// blocked outside of any call.
std::optional<BlockedCall> parse_blocked_call(std::string_view line);

enum class Visited {
  all,
  stopped,  ///< `visit` returned false
  hidden,   ///< of some thread the kernel did not tell what it waits for
};

/// Calls `visit` for each descriptor by which a thread of the process is blocked until it can be
/// read, or until a connection comes: in accept, and in the families of poll, select and
/// epoll_wait. The same one may come several times. Ends when `visit` returns false.
///
/// Reads /proc/PID/task/TID/syscall, which takes PTRACE_MODE_ATTACH (ptrace(2); with Yama's
/// ptrace_scope 1 an ancestor has that), the sets out of the process's memory, and the epoll sets
/// out of fdinfo. Bounded: 1024 threads, 4096 entries of a poll or select, a megabyte of an epoll
/// set. A thread in io_uring_enter counts as hidden, and so does a process that is gone. Does not
/// block. Only 64-bit processes; an epoll descriptor inside another set is not followed, nor is a
/// poll that the kernel has restarted after a stop (restart_syscall(2)).
Visited visit_awaited(pid_t pid, const std::function<bool(int fd)>& visit);

}  // namespace drover::os
