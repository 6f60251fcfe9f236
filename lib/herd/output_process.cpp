#include "lib/herd/output_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/os/error.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"

namespace drover::herd {
namespace {

constexpr const char* kTried = "start a process for the server's output";
constexpr int kReport = kOutputRing + 1;

// From here on the child: no memory is allocated, only async-signal-safe functions are called.

class Stream {
 public:
  Stream(int pipe, int sink, StreamRing& ring) noexcept : pipe_(pipe), sink_(sink), ring_(ring) {
    ring_.busy = 0;  // the predecessor may have been killed in the middle
    const uint64_t taken = ring_.taken;
    const uint64_t kept = std::min<uint64_t>(taken, StreamRing::kKept);
    if (taken - ring_.passed > kept) ring_.passed = taken - kept;
  }
  [[nodiscard]] int pipe() const noexcept { return pipe_; }

  /// Reads at most a portion, straight into the ring.
  void take() noexcept {
    const uint64_t taken = ring_.taken;
    const size_t at = taken % StreamRing::kSize;
    ring_.busy = 1;
    const ssize_t size =
        ::read(pipe_, &ring_.bytes[at], std::min(StreamRing::kAtOnce, StreamRing::kSize - at));
    if (size > 0) ring_.taken = taken + static_cast<uint64_t>(size);
    ring_.busy = 0;
    if (size > 0 || (size < 0 && (errno == EINTR || errno == EAGAIN))) return;
    ::close(pipe_);
    pipe_ = -1;  // poll(2) leaves it out
  }

  void pass_on() noexcept {
    while (ring_.passed != ring_.taken) {
      const size_t at = ring_.passed % StreamRing::kSize;
      const size_t left = static_cast<size_t>(ring_.taken - ring_.passed);
      const ssize_t size = ::write(sink_, &ring_.bytes[at], std::min(left, StreamRing::kSize - at));
      if (size > 0) {
        ring_.passed += static_cast<uint64_t>(size);
      } else if (size < 0 && errno == EAGAIN) {
        pollfd room{sink_, POLLOUT, 0};  // somebody who shares it has made it non-blocking
        ::poll(&room, 1, -1);
      } else if (size == 0 || errno != EINTR) {
        ring_.passed = ring_.taken.load();
      }
    }
  }

 private:
  int pipe_;
  int sink_;
  StreamRing& ring_;
};

void copy_until_end(const OutputRing& ring) noexcept {
  std::array<Stream, kStreams> streams = {Stream(kOutputPipes[0], kOutputSinks[0], ring.stream(0)),
                                          Stream(kOutputPipes[1], kOutputSinks[1], ring.stream(1))};
  for (Stream& stream : streams)
    stream.pass_on();
  while (streams[0].pipe() >= 0 || streams[1].pipe() >= 0) {
    std::array<pollfd, kStreams> ready = {pollfd{streams[0].pipe(), POLLIN, 0},
                                          pollfd{streams[1].pipe(), POLLIN, 0}};
    if (::poll(ready.data(), ready.size(), -1) <= 0) continue;
    for (size_t at = 0; at < kStreams; ++at) {
      if (ready.at(at).revents == 0) continue;
      streams.at(at).take();
      streams.at(at).pass_on();
    }
  }
}

/// Brings the descriptors to their places and closes all others. False on failure, errno says why.
bool take_places(const Copying& what, int report) noexcept {
  std::array<int, kReport + 1> places = {what.pipes[0], what.sinks[0],   what.sinks[1],
                                         what.pipes[1], what.ring->fd(), report};
  // First out of the way: a place may be taken by a descriptor that belongs to another.
  for (int& fd : places)
    if (fd >= 0 && (fd = ::fcntl(fd, F_DUPFD_CLOEXEC, kReport + 1)) < 0) return false;
  for (int place = 0; place <= kReport; ++place) {
    const int fd = places.at(static_cast<size_t>(place));
    if (fd < 0) ::close(place);
    if (fd >= 0 && ::dup2(fd, place) < 0) return false;
  }
  return ::syscall(SYS_close_range, kReport + 1, ~0U, 0) == 0;
}

[[noreturn]] void be_the_process(const Copying& what, int report) noexcept {
  ::prctl(PR_SET_NAME, kOutputName);
  ::setsid();
  (void)!::chdir("/");  // a folder that is removed some day would be held
  if (!take_places(what, report)) {
    const int err = errno;
    (void)!::write(report, &err, sizeof err);
    ::_exit(1);
  }
  ::close(kReport);
  copy_until_end(*what.ring);
  ::_exit(0);
}

/// The child keeps the mask: it is never without it.
pid_t fork_process(const Copying& what, int report) {
  sigset_t all;
  sigfillset(&all);
  const os::BlockedSignals blocked(all);
  const pid_t child = ::fork();
  if (child == 0) be_the_process(what, report);
  return child;
}

}  // namespace

os::Process start_copying(const Copying& what) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, kTried);
  const os::Fd reader(ends[0]);
  os::Fd writer(ends[1]);
  const pid_t child = fork_process(what, writer.get());
  if (child < 0) throw Error(errno, kTried);
  writer.reset();
  auto process = os::Process::open(child);
  int err = process ? 0 : errno;
  ssize_t size;
  do {
    size = ::read(reader.get(), &err, sizeof err);
  } while (size < 0 && errno == EINTR);
  if (err == 0) return std::move(*process);
  ::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  throw Error(err, kTried);
}

bool copies_output(pid_t child) {
  const auto stat = os::read_stat(child);
  return stat && stat->command == kOutputName;
}

}  // namespace drover::herd
