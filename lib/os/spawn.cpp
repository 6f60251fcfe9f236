#include "lib/os/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "lib/os/fd.h"
#include "lib/os/process.h"
#include "lib/os/signals.h"

namespace drover::os {
namespace {

constexpr size_t kMostOfErrors = 4096;

std::vector<char*> arguments_of(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const auto& word : command)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  return arguments;
}

/// Our environment for a child: variables that name us as the process that they are meant for
/// (sd_listen_fds(3), sd_watchdog_enabled(3)) are to name the child.
class ChildEnvironment {
 public:
  explicit ChildEnvironment(const std::vector<std::string>& changes) : changes_(changes) {
    const std::string own = std::to_string(::getpid());
    for (char** entry = ::environ; *entry != nullptr; ++entry)
      if (!is_changed(*entry)) entries_.push_back(*entry);
    for (std::string& change : changes_)
      if (change.find('=') != std::string::npos) entries_.push_back(change.data());
    for (std::string& variable : addressed_) {
      const std::string ours = variable + own;
      variable.resize(variable.size() + kMostDigits);
      std::replace_if(
          entries_.begin(), entries_.end(), [&](const char* entry) { return entry == ours; },
          variable.data());
    }
    entries_.push_back(nullptr);
  }

  /// Called by the child. Async-signal-safe.
  char* const* of_this_child() noexcept {
    for (std::string& variable : addressed_)
      std::to_chars(variable.data() + variable.find('=') + 1, variable.data() + variable.size(),
                    ::getpid());
    return entries_.data();
  }

 private:
  [[nodiscard]] bool is_changed(std::string_view entry) const {
    const std::string_view name = entry.substr(0, entry.find('='));
    return std::any_of(changes_.begin(), changes_.end(), [&](std::string_view change) {
      return change.substr(0, change.find('=')) == name;
    });
  }

  static constexpr size_t kMostDigits = 10;
  std::vector<std::string> changes_;
  std::array<std::string, 2> addressed_ = {"LISTEN_PID=", "WATCHDOG_PID="};
  std::vector<char*> entries_;
};

/// What the child writes when it cannot exec; end of file says that it could.
int read_failure(const Fd& pipe) {
  int err = 0;
  ssize_t size;
  do {
    size = ::read(pipe.get(), &err, sizeof err);
  } while (size < 0 && errno == EINTR);
  return size == sizeof err ? err : 0;
}

int reap(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/// Forks; the child calls `exec`, which returns, with errno, only when it failed.
template <class Exec>
pid_t start(const std::string& name, const Exec& exec) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, "start", name);
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) throw Error(errno, "start", name);
  if (child == 0) {
    exec();
    const int err = errno;
    (void)!::write(ends[1], &err, sizeof err);
    ::_exit(127);
  }
  writer.reset();
  if (const int err = read_failure(reader)) {
    reap(child);
    throw ExecError(err, name);
  }
  return child;
}

}  // namespace

void reset_signals() noexcept {
  // The C library keeps two for itself; the kernel refuses KILL and STOP.
  for (int number = 1; number < NSIG; ++number)
    ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void exec_command(const std::vector<std::string>& command) {
  const auto arguments = arguments_of(command);
  ::execvp(arguments[0], arguments.data());
  throw ExecError(errno, command[0]);
}

void execute(const Execution& execution) {
  const auto arguments = arguments_of(execution.arguments);
  const auto environment = arguments_of(execution.environment);
  ::execve(execution.program.c_str(), arguments.data(), environment.data());
  throw ExecError(errno, execution.program);
}

pid_t spawn(const std::vector<std::string>& command, const ChildSetup& setup) {
  const auto arguments = arguments_of(command);
  ChildEnvironment environment(setup.environment);
  return start(command[0], [&] {
    if (setup.new_session) ::setsid();
    if (setup.output >= 0 && ::dup2(setup.output, STDOUT_FILENO) < 0) return;
    if (setup.errors >= 0 && ::dup2(setup.errors, STDERR_FILENO) < 0) return;
    ::sigprocmask(SIG_SETMASK, &setup.mask, nullptr);
    ::execvpe(arguments[0], arguments.data(), environment.of_this_child());
  });
}

pid_t spawn_apart(const Execution& execution, int output) {
  const Fd null = try_open("/dev/null", O_RDONLY);
  if (!null) throw Error(errno, "open", "/dev/null");
  const auto arguments = arguments_of(execution.arguments);
  const auto environment = arguments_of(execution.environment);
  return start(execution.program, [&] {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    reset_signals();
    if (::setpgid(0, 0) != 0 || ::dup2(null.get(), STDIN_FILENO) < 0 ||
        ::dup2(output, STDOUT_FILENO) < 0 || ::dup2(output, STDERR_FILENO) < 0)
      return;
    ::execve(execution.program.c_str(), arguments.data(), environment.data());
  });
}

Trial try_out(const Execution& execution, Deadline deadline) {
  const ReapableChildren reapable;
  const Fd null = try_open("/dev/null", O_RDONLY);
  if (!null) throw Error(errno, "open", "/dev/null");
  const Fd errors(::memfd_create("errors", MFD_CLOEXEC));
  if (!errors) throw Error(errno, "try", execution.program);
  const auto arguments = arguments_of(execution.arguments);
  const auto environment = arguments_of(execution.environment);
  const pid_t child = start(execution.program, [&] {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::dup2(null.get(), STDIN_FILENO) < 0 || ::dup2(errors.get(), STDOUT_FILENO) < 0 ||
        ::dup2(errors.get(), STDERR_FILENO) < 0)
      return;
    ::execve(execution.program.c_str(), arguments.data(), environment.data());
  });
  const auto process = Process::open(child);
  const bool ended = !process || process->wait_dead(deadline);
  if (!ended) ::kill(child, SIGKILL);
  const ExitStatus status{reap(child)};
  Trial trial{ended ? std::optional(status) : std::nullopt, std::string(kMostOfErrors, '\0')};
  const ssize_t size = ::pread(errors.get(), trial.errors.data(), trial.errors.size(), 0);
  trial.errors.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return trial;
}

}  // namespace drover::os
