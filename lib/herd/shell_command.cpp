#include "lib/herd/shell_command.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <chrono>
#include <memory>

#include "lib/os/error.h"
#include "lib/os/spawn.h"

namespace drover::herd {
namespace {

constexpr size_t kMostOfOutput = 1024;
constexpr size_t kMostOfLine = 200;
/// What one wake-up reads, so that a flood does not keep the loop from its other work.
constexpr int kMostChunks = 16;
/// A killed process that hangs in the kernel is not waited for longer.
constexpr auto kDying = std::chrono::seconds(1);

/// The end of what comes out of a pipe. Its handler may run after whoever made it is gone.
class Tail : public std::enable_shared_from_this<Tail> {
 public:
  Tail(asio::io_context& io, os::Fd pipe) : pipe_(io, pipe.release()) {}

  void follow() {
    pipe_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](asio::error_code error) {
                       if (!error && self->pipe_.is_open() && self->take()) self->follow();
                     });
  }

  /// What is there already is taken; then nothing is any more.
  std::string finish() {
    take();
    close();
    return text_;
  }
  void close() {
    asio::error_code ignored;
    pipe_.close(ignored);
  }

 private:
  /// False at the end of the pipe.
  bool take() {
    std::array<char, 4096> chunk;
    for (int count = 0; count < kMostChunks; ++count) {
      const ssize_t size = ::read(pipe_.native_handle(), chunk.data(), chunk.size());
      if (size <= 0) return size < 0 && (errno == EAGAIN || errno == EINTR);
      text_.append(chunk.data(), static_cast<size_t>(size));
      if (text_.size() > kMostOfOutput) text_.erase(0, text_.size() - kMostOfOutput);
    }
    return true;
  }

  asio::posix::stream_descriptor pipe_;
  std::string text_;
};

struct Pipe {
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, "make a pipe");
    reader = os::Fd(ends[0]);
    writer = os::Fd(ends[1]);
    ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);
  }
  os::Fd reader;
  os::Fd writer;
};

/// A running command. Whoever loses it, by an exception or with the loop, has killed it.
class Running {
 public:
  Running(asio::io_context& io, os::Children& children, Pipe pipe, pid_t pid)
      : child_(children, pid), tail_(std::make_shared<Tail>(io, std::move(pipe.reader))) {
    tail_->follow();
  }
  ~Running() {
    kill();
    tail_->close();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void kill() const {
    if (!child_.status()) ::kill(-child_.pid(), SIGKILL);
  }
  os::Children::Child& child() noexcept { return child_; }
  std::string finish() { return tail_->finish(); }

 private:
  os::Children::Child child_;
  std::shared_ptr<Tail> tail_;
};

}  // namespace

std::string CommandResult::last_line() const {
  const auto is_blank = [](char c) { return c >= '\0' && c <= ' '; };
  const auto last = std::find_if_not(output.rbegin(), output.rend(), is_blank).base();
  const auto newline = std::find(std::reverse_iterator(last), output.rend(), '\n').base();
  std::string line(std::find_if_not(newline, last, is_blank), last);
  if (line.size() > kMostOfLine) line.resize(kMostOfLine);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return (c >= '\0' && c < ' ') || c == '\x7f'; }, '?');
  return line;
}

asio::awaitable<CommandResult> run_command(asio::io_context& io, os::Children& children,
                                           std::string command,
                                           std::vector<std::string> environment,
                                           os::Deadline deadline) {
  Pipe pipe;
  const pid_t pid = os::spawn_apart(
      {"/bin/sh", {"sh", "-c", std::move(command)}, std::move(environment)}, pipe.writer.get());
  pipe.writer.reset();
  Running running(io, children, std::move(pipe), pid);

  CommandResult result;
  result.status = co_await running.child().ended(deadline);
  if (!result.status) {
    running.kill();
    co_await running.child().ended(std::chrono::steady_clock::now() + kDying);
  }
  result.output = running.finish();
  co_return result;
}

}  // namespace drover::herd
