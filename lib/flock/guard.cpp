#include "lib/flock/guard.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "lib/os/procfs.h"
#include "lib/os/signals.h"
#include "lib/os/spawn.h"

namespace drover::flock {
namespace {

class Guard {
 public:
  explicit Guard(pid_t command) : command_(command) {}

  /// Reaps whoever has ended. True when no child is left.
  bool reap() {
    for (;;) {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid == 0) return false;
      if (pid < 0 && errno == EINTR) continue;
      if (pid < 0) return true;  // ECHILD
      if (pid == command_) {
        command_ = 0;
        status_.wait_status = status;
      }
    }
  }

  /// Our children cannot be reaped behind our back, so their numbers are safe to use.
  void pass_on(const siginfo_t& info) const {
    for (const pid_t child : command_ != 0 ? std::vector{command_} : adopted())
      if (!has_it_already(child, info)) ::kill(child, info.si_signo);
  }

  [[nodiscard]] os::ExitStatus status() const { return status_; }

 private:
  /// Those that were adopted; unknown where /proc has other numbers for them.
  static std::vector<pid_t> adopted() {
    return os::proc_is_ours() ? os::children_of(::getpid()) : std::vector<pid_t>{};
  }

  /// The terminal signals a whole process group; only its hang-up goes to the session's leader
  /// alone.
  static bool has_it_already(pid_t child, const siginfo_t& info) {
    if (info.si_code != SI_KERNEL) return false;
    const bool to_leader_alone = info.si_signo == SIGHUP && ::getsid(0) == ::getpid();
    return !to_leader_alone && ::getpgid(child) == ::getpgrp();
  }

  pid_t command_;
  os::ExitStatus status_;
};

/// For ^Z: the shell waits for this process to stop, not for the command.
void stop_until_continued() {
  const sigset_t stop = os::signal_set({SIGTSTP});
  ::raise(SIGTSTP);
  ::pthread_sigmask(SIG_UNBLOCK, &stop, nullptr);
  ::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
}

}  // namespace

os::ExitStatus guard(const std::vector<std::string>& command) {
  sigset_t wanted = os::forwardable_signals();
  sigaddset(&wanted, SIGCHLD);
  const os::BlockedSignals blocked(wanted);
  const os::ReapableChildren reapable;
  ::prctl(PR_SET_NAME, kGuardName);
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) throw Error(errno, "adopt orphaned processes");

  Guard children(os::spawn(command, {.mask = blocked.previous()}));
  while (!children.reap()) {
    siginfo_t info{};
    if (::sigwaitinfo(&wanted, &info) <= 0 || info.si_signo == SIGCHLD) continue;
    children.pass_on(info);
    if (info.si_signo == SIGTSTP && info.si_code == SI_KERNEL) stop_until_continued();
  }
  return children.status();
}

}  // namespace drover::flock
