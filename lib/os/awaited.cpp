#include "lib/os/awaited.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "lib/os/fd.h"
#include "lib/os/procfs.h"

namespace drover::os {
namespace {

constexpr int kMostThreads = 1024;
constexpr uint64_t kMostEntries = 4096;
constexpr size_t kMostOfEpoll = 1 << 20;

using Visit = std::function<bool(int)>;

enum class Kind { other, accept, poll, select, epoll, ring };

Kind kind_of(long number) {
  switch (number) {
#ifdef SYS_accept
    case SYS_accept:
#endif
    case SYS_accept4:
      return Kind::accept;
#ifdef SYS_poll  // aarch64 has only the newer ones
    case SYS_poll:
#endif
    case SYS_ppoll:
      return Kind::poll;
#ifdef SYS_select
    case SYS_select:
#endif
    case SYS_pselect6:
      return Kind::select;
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
#ifdef SYS_epoll_pwait2
    case SYS_epoll_pwait2:
#endif
    case SYS_epoll_pwait:
      return Kind::epoll;
    case SYS_io_uring_enter:
      return Kind::ring;
    default:
      return Kind::other;
  }
}

/// The memory of another process, read in pieces.
class Memory {
 public:
  explicit Memory(pid_t pid) noexcept : pid_(pid) {}

  /// How many of the bytes at `address` could be read, from the first one on.
  size_t read(uint64_t address, void* to, size_t size) {
    const iovec here{to, size};
    const iovec there{reinterpret_cast<void*>(address), size};  // NOLINT(performance-no-int-to-ptr)
    ssize_t count = ::process_vm_readv(pid_, &here, 1, &there, 1, 0);
    if (count < 0 && (errno == EPERM || errno == ENOSYS)) {
      // Containers may forbid the call and not the file.
      const Fd file = try_open(fmt::format("/proc/{}/mem", pid_), O_RDONLY);
      count = file ? ::pread(file.get(), to, size, static_cast<off_t>(address)) : -1;
      refused_ = refused_ || !file;
    }
    return count < 0 ? 0 : static_cast<size_t>(count);
  }
  [[nodiscard]] bool refused() const noexcept { return refused_; }

 private:
  pid_t pid_;
  bool refused_ = false;
};

bool visit_poll(Memory& memory, const BlockedCall& call, const Visit& visit) {
  std::array<pollfd, 128> chunk;
  const uint64_t count = std::min(call.arguments[1], kMostEntries);
  for (uint64_t at = 0; at < count; at += chunk.size()) {
    const size_t wanted = std::min<uint64_t>(chunk.size(), count - at) * sizeof(pollfd);
    const size_t size = memory.read(call.arguments[0] + at * sizeof(pollfd), chunk.data(), wanted);
    for (size_t entry = 0; entry < size / sizeof(pollfd); ++entry)
      if (chunk[entry].fd >= 0 && (chunk[entry].events & (POLLIN | POLLRDNORM)) != 0 &&
          !visit(chunk[entry].fd))
        return false;
    if (size < wanted) break;
  }
  return true;
}

bool visit_select(Memory& memory, const BlockedCall& call, const Visit& visit) {
  if (call.arguments[1] == 0) return true;  // waits for nothing to read
  std::array<unsigned char, kMostEntries / 8> set;
  const uint64_t count = std::min(call.arguments[0] & 0xffffffffU, kMostEntries);
  const size_t size = memory.read(call.arguments[1], set.data(), (count + 7) / 8);
  for (size_t fd = 0; fd < std::min<size_t>(count, size * 8); ++fd)
    if ((set[fd / 8] >> (fd % 8) & 1) != 0 && !visit(static_cast<int>(fd))) return false;
  return true;
}

/// Lines of fdinfo such as "tfd:        5 events:       19 data: ..."; proc_pid_fdinfo(5).
bool visit_epoll(pid_t pid, const BlockedCall& call, const Visit& visit) {
  const std::string info = read_proc(
      fmt::format("/proc/{}/fdinfo/{}", pid, static_cast<int>(call.arguments[0])), kMostOfEpoll);
  const std::string_view text = info;
  constexpr std::string_view kTarget = "tfd:";
  constexpr std::string_view kEvents = "events:";
  const auto number_after = [&](size_t at, int base) {
    uint32_t value = 0;
    at = std::min(text.find_first_not_of(' ', at), text.size());
    std::from_chars(text.data() + at, text.data() + text.size(), value, base);
    return value;
  };
  for (size_t at = 0; (at = text.find(kTarget, at)) != std::string_view::npos;
       at += kTarget.size()) {
    const size_t events = text.find(kEvents, at);
    if (events == std::string_view::npos) break;
    if ((number_after(events + kEvents.size(), 16) & (EPOLLIN | EPOLLRDNORM)) != 0 &&
        !visit(static_cast<int>(number_after(at + kTarget.size(), 10))))
      return false;
  }
  return true;
}

/// The line of one thread, on the stack: empty for one that is gone.
struct CallLine {
  std::array<char, 256> text;
  size_t size = 0;
  bool refused = false;
};

CallLine read_call(pid_t pid, pid_t thread) {
  CallLine line;
  const std::string folder = fmt::format("/proc/{}/task/{}", pid, thread);
  const Fd file = try_open(folder + "/syscall", O_RDONLY);
  const ssize_t size = file ? ::read(file.get(), line.text.data(), line.text.size()) : -1;
  if (size >= 0) {
    line.size = static_cast<size_t>(size);
  } else {
    // A kernel without this file has the thread all the same.
    line.refused = errno != ESRCH && (errno != ENOENT || ::access(folder.c_str(), F_OK) == 0);
  }
  return line;
}

}  // namespace

std::optional<BlockedCall> parse_blocked_call(std::string_view line) {
  BlockedCall call;
  const char* at = line.data();
  const char* const end = at + line.size();
  auto [next, error] = std::from_chars(at, end, call.number);
  if (error != std::errc{} || call.number < 0) return std::nullopt;
  for (uint64_t& argument : call.arguments) {
    constexpr std::string_view kPrefix = " 0x";
    at = next;
    if (!std::string_view(at, static_cast<size_t>(end - at)).starts_with(kPrefix))
      return std::nullopt;
    const auto parsed = std::from_chars(at + kPrefix.size(), end, argument, 16);
    if (parsed.ec != std::errc{}) return std::nullopt;
    next = parsed.ptr;
  }
  return call;
}

Visited visit_awaited(pid_t pid, const Visit& visit) {
  NumberedDir threads(fmt::format("/proc/{}/task", pid));
  if (!threads) return Visited::hidden;
  Memory memory(pid);
  bool hidden = false;
  int seen = 0;
  for (pid_t thread; seen++ < kMostThreads && (thread = threads.next()) >= 0;) {
    const CallLine line = read_call(pid, thread);
    hidden = hidden || line.refused;
    const auto call = parse_blocked_call({line.text.data(), line.size});
    const Kind kind = call ? kind_of(call->number) : Kind::other;
    hidden = hidden || kind == Kind::ring;
    const bool go_on = kind == Kind::accept   ? visit(static_cast<int>(call->arguments[0]))
                       : kind == Kind::poll   ? visit_poll(memory, *call, visit)
                       : kind == Kind::select ? visit_select(memory, *call, visit)
                       : kind == Kind::epoll  ? visit_epoll(pid, *call, visit)
                                              : true;
    if (!go_on) return Visited::stopped;
  }
  return hidden || memory.refused() ? Visited::hidden : Visited::all;
}

}  // namespace drover::os
