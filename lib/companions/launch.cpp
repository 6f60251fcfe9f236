#include "lib/companions/launch.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <map>
#include <set>
#include <vector>

#include "lib/os/error.h"
#include "lib/os/spawn.h"

namespace drover::companions {
namespace {

enum class Step : int { locked, replaced, lock, streams, ready, limits, user, folder, run };

struct Word {
  Step step;
  int err;
};

/// What is not for a companion: the server's lock and listeners, the supervisor's sockets.
const std::set<std::string, std::less<>> kForeign = {
    "DROVER_LOCK",    "DROVER_LOCK_FD", "LISTEN_PID",   "LISTEN_FDS",
    "LISTEN_FDNAMES", "NOTIFY_SOCKET",  "WATCHDOG_PID", "WATCHDOG_USEC"};

std::vector<std::string> environment_for(const LaunchRequest& request) {
  std::map<std::string, std::string> own = request.spec.env;
  if (request.lock >= 0) own["DROVER_LOCK"] = request.spec.lock;
  if (request.lock >= 0 && request.spec.holding != Holding::main)
    own["DROVER_LOCK_FD"] = std::to_string(request.lock);
  if (!request.notify.empty()) own["NOTIFY_SOCKET"] = request.notify;
  std::vector<std::string> environment;
  for (char** entry = ::environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string name(text.substr(0, text.find('=')));
    if (!kForeign.contains(name) && !own.contains(name)) environment.emplace_back(text);
  }
  for (const auto& [name, value] : own)
    environment.push_back(fmt::format("{}={}", name, value));
  return environment;
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts)
    pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

/// The child, from the fork to the exec: everything that allocates has been done before.
class Child {
 public:
  Child(const LaunchRequest& request, int null, int progress)
      : request_(request),
        spec_(request.spec),
        null_(null),
        progress_(progress),
        manager_(::getpid()),
        environment_(environment_for(request)),
        environment_pointers_(pointers_to(environment_)),
        arguments_(pointers_to(spec_.command)),
        kept_({null, progress, request.lock, request.output, request.errors, request.ready}) {
    std::sort(kept_.begin(), kept_.end());
  }

  /// Async-signal-safe, as is all that it calls.
  [[noreturn]] void run() noexcept {
    ::setsid();
    os::reset_signals();
    die_with_manager(SIGKILL);
    os::close_all_but(kept_);
    if (request_.lock >= 0) wait_for_lock();
    connect_streams();
    set_limits();
    become_user();
    die_with_manager(spec_.stop_signal);
    if (!spec_.folder.empty() && ::chdir(spec_.folder.c_str()) != 0) fail(Step::folder);
    ::environ = environment_pointers_.data();
    ::execvp(arguments_[0], arguments_.data());
    fail(Step::run);
  }

 private:
  void say(Step step) const noexcept {
    const Word word{step, errno};
    (void)!::write(progress_, &word, sizeof word);
  }

  [[noreturn]] void fail(Step step) const noexcept {
    const int err = errno;
    say(step);
    ::_exit(err == ENOENT && step == Step::run ? 127 : 126);
  }

  void die_with_manager(int number) const noexcept {
    ::prctl(PR_SET_PDEATHSIG, number);
    if (::getppid() != manager_) ::_exit(126);  // it died before that was heard
  }

  void wait_for_lock() const noexcept {
    while (::flock(request_.lock, LOCK_EX) != 0)
      if (errno != EINTR) fail(Step::lock);
    struct stat held {
    }, named{};
    ::fstat(request_.lock, &held);
    if (::lstat(spec_.lock.c_str(), &named) != 0 || held.st_ino != named.st_ino ||
        held.st_dev != named.st_dev)
      fail(Step::replaced);
    ::futimens(request_.lock, nullptr);  // shows watchers the arrival
    say(Step::locked);
  }

  /// No number that is still needed is overwritten: they stand above what they become.
  void connect_streams() const noexcept {
    const int flags = spec_.holding == Holding::main ? FD_CLOEXEC : 0;
    if (request_.lock >= 0 && ::fcntl(request_.lock, F_SETFD, flags) != 0) fail(Step::lock);
    if (::dup2(null_, STDIN_FILENO) < 0) fail(Step::streams);
    if (request_.output >= 0 && ::dup2(request_.output, STDOUT_FILENO) < 0) fail(Step::streams);
    if (request_.errors >= 0 && ::dup2(request_.errors, STDERR_FILENO) < 0) fail(Step::streams);
    // What stands in for a closed stream of the manager's is close-on-exec.
    for (const int stream : {STDOUT_FILENO, STDERR_FILENO})
      ::fcntl(stream, F_SETFD, 0);
    if (spec_.errors_to_output && ::dup2(STDOUT_FILENO, STDERR_FILENO) < 0) fail(Step::streams);
    if (request_.ready >= 0 && request_.ready != spec_.ready_fd &&
        ::dup2(request_.ready, spec_.ready_fd) < 0)
      fail(Step::ready);
    if (request_.ready >= 0 && request_.ready == spec_.ready_fd &&
        ::fcntl(request_.ready, F_SETFD, 0) != 0)
      fail(Step::ready);
  }

  void set_limits() const noexcept {
    for (const auto& [resource, limit] : spec_.limits)
      if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) fail(Step::limits);
    if (spec_.umask) ::umask(*spec_.umask);
  }

  void become_user() const noexcept {
    if (spec_.gid) {
      const gid_t group = *spec_.gid;
      // Whoever is that user already may not, and need not, change anything.
      if (::setgroups(1, &group) != 0 && ::geteuid() == 0) fail(Step::user);
      if (::setresgid(group, group, group) != 0) fail(Step::user);
    }
    if (spec_.uid && ::setresuid(*spec_.uid, *spec_.uid, *spec_.uid) != 0) fail(Step::user);
  }

  const LaunchRequest& request_;
  const Spec& spec_;
  int null_;
  int progress_;
  pid_t manager_;
  std::vector<std::string> environment_;
  std::vector<char*> environment_pointers_;
  std::vector<char*> arguments_;
  std::array<int, 6> kept_;
};

std::string described(Step step, const Spec& spec) {
  switch (step) {
    case Step::lock:
      return fmt::format("lock '{}'", spec.lock);
    case Step::streams:
      return "connect its standard streams";
    case Step::ready:
      return fmt::format("give it descriptor {}", spec.ready_fd);
    case Step::limits:
      return "set its limits";
    case Step::user:
      return "become its user";
    case Step::folder:
      return fmt::format("enter '{}'", spec.folder);
    case Step::locked:
    case Step::replaced:
    case Step::run:
      break;
  }
  return fmt::format("run '{}'", spec.command.at(0));
}

}  // namespace

Launched launch(const LaunchRequest& request) {
  const os::Fd null = os::try_open("/dev/null", O_RDWR);
  if (!null) throw Error(errno, "open", "/dev/null");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw Error(errno, "start", request.spec.name);
  Launched launched{0, os::Fd(ends[0])};
  // Above the standard streams and a ready descriptor, which the child overwrites.
  const int lowest = std::max(3, request.spec.ready_fd + 1);
  const os::Fd low(ends[1]);
  const os::Fd progress = os::duplicate(ends[1], lowest, false);
  const os::Fd input = os::duplicate(null.get(), lowest, false);
  if (!progress || !input) throw Error(errno, "start", request.spec.name);
  Child child(request, input.get(), progress.get());
  launched.pid = ::fork();
  if (launched.pid < 0) throw Error(errno, "start", request.spec.name);
  if (launched.pid == 0) child.run();
  return launched;
}

Progress read_progress(int progress, const Spec& spec) {
  Word word{};
  ssize_t size;
  do {
    size = ::read(progress, &word, sizeof word);
  } while (size < 0 && errno == EINTR);
  if (size == 0) return {Progress::Kind::executed, "", 0};
  if (size != sizeof word) return {};
  if (word.step == Step::locked) return {Progress::Kind::locked, "", 0};
  if (word.step == Step::replaced) return {Progress::Kind::replaced, "", 0};
  return {Progress::Kind::failed, described(word.step, spec), word.err};
}

}  // namespace drover::companions
