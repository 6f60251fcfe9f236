#include "lib/herd/output.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdlib>

#include "lib/os/error.h"
#include "lib/os/procfs.h"
#include "lib/os/timer.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostRoom = 1 << 20;
constexpr int kUsualRoom = 64 << 10;
constexpr auto kLookAgain = std::chrono::milliseconds(20);

std::string path_of(pid_t pid, int fd) { return fmt::format("/proc/{}/fd/{}", pid, fd); }

/// The file of an anonymous pipe; empty when the path names something else.
std::optional<os::FileId> pipe_at(const std::string& path) {
  struct stat st {};
  std::array<char, 6> target{};
  if (::stat(path.c_str(), &st) != 0 || !S_ISFIFO(st.st_mode)) return std::nullopt;
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  if (std::string_view(target.data(), size < 0 ? 0 : static_cast<size_t>(size)) != "pipe:[")
    return std::nullopt;
  return os::id_of(st);
}

std::optional<os::FileId> pipe_at(const os::Fd& fd) {
  struct stat st {};
  if (!fd || ::fstat(fd.get(), &st) != 0) return std::nullopt;
  return os::id_of(st);
}

/// Whether a descriptor is open for reading and writing; proc_pid_fdinfo(5).
bool is_read_write(pid_t pid, int fd) {
  const std::string info = os::read_proc(fmt::format("/proc/{}/fdinfo/{}", pid, fd), 4096);
  const auto at = info.find("flags:");
  if (at == std::string::npos) return false;
  const unsigned long flags = std::strtoul(info.c_str() + at + 6, nullptr, 8);
  return (flags & O_ACCMODE) == O_RDWR;
}

/// A pipe of ours: nobody else opens an anonymous pipe for both. From another one we would take
/// what somebody else is waiting for.
std::optional<os::FileId> server_end_at(pid_t pid, int fd) {
  if (!is_read_write(pid, fd)) return std::nullopt;
  return pipe_at(path_of(pid, fd));
}

/// Opened anew, so that its non-blocking mode is nobody else's. Never blocks: a pipe without a name
/// does not wait for a writer.
os::Fd open_pipe(const std::string& path, const os::FileId& expected) {
  if (pipe_at(path) != expected) return {};
  os::Fd fd = os::try_open(path, O_RDONLY | O_NONBLOCK);
  if (pipe_at(fd) != expected) fd.reset();
  return fd;
}

/// An earlier herd's process, and what can be taken over from it.
struct Predecessor {
  os::Process process;
  OutputRing ring;
  std::array<os::Fd, kStreams> pipes;
};

/// `pid` as the process that empties one of these pipes; empty when it is none.
std::optional<Predecessor> as_predecessor(pid_t pid, const std::vector<os::FileId>& wanted) {
  const std::string folder = fmt::format("/proc/{}", pid);
  if (os::read_proc(folder + "/comm", 64) != std::string(kOutputName) + "\n") return std::nullopt;
  auto process = os::Process::open(pid);
  struct stat st {};
  if (!process || ::stat(folder.c_str(), &st) != 0 || st.st_uid != ::geteuid()) return std::nullopt;
  std::array<os::Fd, kStreams> pipes;
  bool found = false;
  for (size_t at = 0; at < kStreams; ++at) {
    const std::string path = path_of(pid, kOutputPipes.at(at));
    const auto pipe = pipe_at(path);
    if (!pipe) continue;
    found = found || std::find(wanted.begin(), wanted.end(), *pipe) != wanted.end();
    pipes.at(at) = open_pipe(path, *pipe);
  }
  auto ring = OutputRing::open(path_of(pid, kOutputRing));
  if (!found || !ring || !process->alive()) return std::nullopt;
  return Predecessor{std::move(*process), std::move(*ring), std::move(pipes)};
}

std::optional<Predecessor> find_predecessor(const std::vector<os::FileId>& wanted) {
  for (const pid_t pid : os::all_processes())
    if (auto found = as_predecessor(pid, wanted)) return found;
  return std::nullopt;
}

bool has_bytes(const os::Fd& pipe) noexcept {
  int count = 0;
  return ::ioctl(pipe.get(), FIONREAD, &count) == 0 && count > 0;
}

/// Whether something is in the pipe or can still come.
bool is_in_use(const os::Fd& pipe) noexcept {
  if (!pipe) return false;
  pollfd state{pipe.get(), POLLIN, 0};
  return ::poll(&state, 1, 0) < 0 || state.revents != POLLHUP;
}

/// What was written to a file since, at most as much as a ring keeps.
Remainder written_to(const os::Fd& file, uint64_t position) {
  struct stat st {};
  if (::fstat(file.get(), &st) != 0) return {};
  const auto size = static_cast<uint64_t>(st.st_size);
  const uint64_t since = position <= size ? position : 0;  // it was emptied meanwhile
  const uint64_t from = std::max(since, size > StreamRing::kKept ? size - StreamRing::kKept : 0);
  Remainder left{std::string(size - from, '\0'), from > since};
  const ssize_t count =
      ::pread(file.get(), left.text.data(), left.text.size(), static_cast<off_t>(from));
  left.text.resize(count < 0 ? 0 : static_cast<size_t>(count));
  return left;
}

}  // namespace

std::vector<std::string> last_lines(std::string_view text, size_t most) {
  std::vector<std::string> lines;
  bool more = !text.empty();
  if (text.ends_with('\n')) text.remove_suffix(1);
  while (more && lines.size() < most) {
    const auto newline = text.rfind('\n');
    more = newline != std::string_view::npos;
    lines.emplace_back(text.substr(more ? newline + 1 : 0));
    text = text.substr(0, more ? newline : 0);
  }
  std::reverse(lines.begin(), lines.end());
  return lines;
}

bool OutputMark::nothing_to_be_had() const noexcept {
  return std::all_of(places.begin(), places.end(),
                     [](const Place& place) { return !place.ring && !place.file; });
}

Output::Output(Descriptors sinks, std::optional<OutputRing> ring)
    : sinks_(sinks), ring_(std::move(ring)) {}

void Output::make_pipe(size_t stream) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw Error(errno, "make a pipe");
  pipes_.at(stream).reset(ends[0]);
  const os::Fd writer(ends[1]);
  for (int room = kMostRoom; room > kUsualRoom; room /= 2)
    if (::fcntl(writer.get(), F_SETPIPE_SZ, room) > 0) break;  // else a user's limits: pipe(7)
  const std::string path = fmt::format("/proc/self/fd/{}", writer.get());
  server_ends_.at(stream) = os::try_open(path, O_RDWR);
  if (!server_ends_.at(stream)) throw Error(errno, "open", path);
}

void Output::start_process() {
  process_ = start_copying({{pipes_[0].get(), pipes_[1].get()}, sinks_, &*ring_});
}

Output Output::start(Descriptors sinks) {
  Output output(sinks, OutputRing::create());
  for (size_t stream = 0; stream < kStreams; ++stream)
    output.make_pipe(stream);
  output.start_process();
  return output;
}

Output Output::adopt(pid_t master, Descriptors sinks) {
  Output output(sinks, std::nullopt);
  std::vector<os::FileId> wanted;
  for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; ++fd)
    if (const auto pipe = server_end_at(master, fd)) wanted.push_back(*pipe);
  if (wanted.empty()) return output;

  if (auto old = find_predecessor(wanted)) {
    output.ring_ = std::move(old->ring);
    output.pipes_ = std::move(old->pipes);
    (void)old->process.signal(SIGKILL);
    (void)old->process.wait_dead();
  } else {
    output.ring_ = OutputRing::create();
  }
  for (size_t stream = 0; stream < kStreams; ++stream) {
    const int fd = static_cast<int>(stream) + STDOUT_FILENO;
    const auto pipe = server_end_at(master, fd);
    if (!pipe || output.pipes_.at(stream) || pipe_at(output.pipes_.at(1 - stream)) == pipe)
      continue;
    output.pipes_.at(stream) = open_pipe(path_of(master, fd), *pipe);
  }
  output.start_process();
  return output;
}

Output::Descriptors Output::server_ends() const noexcept {
  return {server_ends_[0].get(), server_ends_[1].get()};
}

void Output::launched() noexcept {
  for (os::Fd& end : server_ends_)
    end.reset();
}

OutputMark Output::mark(pid_t master) const {
  OutputMark mark;
  for (size_t at = 0; at < kStreams; ++at) {
    OutputMark::Place& place = mark.places.at(at);
    const std::string path = path_of(master, static_cast<int>(at) + STDOUT_FILENO);
    const auto pipe = master == 0 ? pipe_at(pipes_.at(at)) : pipe_at(path);
    for (size_t stream = 0; pipe && stream < kStreams; ++stream)
      if (pipe_at(pipes_.at(stream)) == pipe) place.ring = stream;
    if (place.ring) place.position = ring_->stream(*place.ring).taken;
    struct stat st {};
    if (master == 0 || ::stat(path.c_str(), &st) != 0 || !S_ISREG(st.st_mode)) continue;
    place.file = os::try_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (place.file) place.position = static_cast<uint64_t>(st.st_size);
  }
  return mark;
}

std::vector<std::string> Output::lines_since(const OutputMark& mark, size_t most) const {
  for (size_t at = kStreams; at-- > 0;) {  // standard error first
    const OutputMark::Place& place = mark.places.at(at);
    Remainder left;
    if (place.ring && ring_) left = ring_->since(*place.ring, place.position);
    if (place.file) left = written_to(place.file, place.position);
    const auto newline = left.text.find('\n');
    if (left.cut && newline != std::string::npos) left.text.erase(0, newline + 1);
    if (!left.text.empty()) return last_lines(left.text, most);
  }
  return {};
}

bool Output::caught_up() const noexcept {
  for (size_t stream = 0; stream < kStreams; ++stream) {
    // In this order: what is not in the pipe any more has made the ring busy before.
    if (pipes_.at(stream) && (has_bytes(pipes_.at(stream)) || ring_->stream(stream).busy != 0))
      return false;
  }
  return true;
}

asio::awaitable<void> Output::catch_up(std::chrono::milliseconds limit) {
  os::Timer timer(co_await asio::this_coro::executor);
  const auto end = Clock::now() + limit;
  while (!caught_up() && Clock::now() < end) {
    timer.expires_after(kLookAgain);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

bool Output::revive() {
  if (!process_ || process_->alive() || (!is_in_use(pipes_[0]) && !is_in_use(pipes_[1])))
    return false;
  start_process();
  return true;
}

bool Output::finish(os::Deadline deadline) {
  launched();
  return !process_ || process_->wait_dead(deadline);
}

}  // namespace drover::herd
