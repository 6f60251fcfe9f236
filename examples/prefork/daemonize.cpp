#include "examples/prefork/daemonize.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "lib/os/error.h"

namespace drover::prefork {
namespace {

constexpr std::string_view kSuccess = "+";

pid_t fork_once() {
  const pid_t child = ::fork();
  if (child < 0) throw Error(errno, "go into the background");
  return child;
}

void leave_terminal() {
  const os::Fd null = os::try_open("/dev/null", O_RDWR);
  if (!null) throw Error(errno, "open", "/dev/null");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    ::dup2(null.get(), fd);
}

/// All that the daemon says, until it has closed its end.
std::string listen_to(int pipe) {
  std::string text;
  char buffer[1024];
  for (;;) {
    const ssize_t size = ::read(pipe, buffer, sizeof buffer);
    if (size > 0) {
      text.append(buffer, static_cast<size_t>(size));
    } else if (size == 0 || errno != EINTR) {
      return text;
    }
  }
}

}  // namespace

void Launcher::tell(std::string_view text) const {
  if (pipe_) (void)!::write(pipe_.get(), text.data(), text.size());
}

void Launcher::succeeded() {
  tell(kSuccess);
  pipe_.reset();
}

void Launcher::failed(std::string_view message) { tell(message); }

std::optional<Launcher> daemonize() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, "go into the background");
  const os::Fd reader(ends[0]);
  os::Fd writer(ends[1]);
  if (const pid_t child = fork_once()) {
    writer.reset();
    ::waitpid(child, nullptr, 0);
    const std::string text = listen_to(reader.get());
    if (text == kSuccess) return std::nullopt;
    throw Error::because(ECANCELED, "start the server", {},
                         text.empty() ? "it died before its workers were up" : text);
  }
  ::setsid();
  // The leader of a session could get a terminal again: the daemon is the leader's child.
  if (fork_once() != 0) ::_exit(0);
  leave_terminal();
  return Launcher(std::move(writer));
}

}  // namespace drover::prefork
