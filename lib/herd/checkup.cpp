#include "lib/herd/checkup.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "lib/flock/holders.h"
#include "lib/flock/lock_file.h"
#include "lib/flock/pidfile.h"
#include "lib/herd/background.h"
#include "lib/herd/launch.h"
#include "lib/herd/lock_check.h"
#include "lib/herd/release_check.h"
#include "lib/herd/run_check.h"
#include "lib/herd/scratch_run.h"
#include "lib/os/error.h"
#include "lib/os/process.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"
#include "lib/os/taken_signals.h"

namespace drover::herd {
namespace {

using Verdict = Check::Verdict;

sigset_t taken_signals() { return os::signal_set({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD}); }

class Checkup {
 public:
  Checkup(const CheckupRequest& request, const ScratchFolder& folder, ScratchLocks& locks)
      : request_(request),
        folder_(folder),
        locks_(locks),
        signals_(io_, taken_signals(), [this](int number) { handle(number); }),
        children_(io_),
        run_(io_, children_, request, folder.path(), locks,
             [this] { return report_.interrupted_by != 0; }) {
    own_.path = request.pidfile + ".lock";
    children_.on_other([this](pid_t pid, os::ExitStatus status) { run_.reaped(pid, status); });
  }

  CheckupReport run() {
    run_until_done(io_, life());
    return std::move(report_);
  }

 private:
  asio::awaitable<void> life() {
    add(check_limit());
    launch();
    std::exception_ptr failure;
    try {
      co_await tried();
    } catch (...) {
      failure = std::current_exception();  // what was started has to end all the same
    }
    report_.server = run_.service().dialect().name;
    const ScratchRun::Ending ending = co_await run_.ended(!serves_ || report_.interrupted_by != 0);
    if (serves_ && report_.interrupted_by == 0) add(check_end(ending));
    if (failure) std::rethrow_exception(failure);
  }

  asio::awaitable<void> tried() {
    const ScratchRun::Start start = co_await run_.started();
    if (start == ScratchRun::Start::stopped) co_return;
    add(check_start(patient(), run_, start));
    if (start != ScratchRun::Start::serves) co_return;
    serves_ = true;
    if (auto check = check_file_system(request_.pidfile)) add(std::move(*check));
    history_.before = look();
    own_.held_before = is_own_held();
    co_await look_for_forgetful_hook();
    const bool reloaded = co_await reload_tried();
    if (reloaded) {
      history_.after = look();
      own_.held_after = is_own_held();
    }
    if (report_.interrupted_by != 0) co_return;
    check_what_was_seen(reloaded);
  }

  void launch() {
    command_ = request_.command;
    const Dialect* known = request_.dialect != nullptr ? request_.dialect : recognize(command_);
    if (known != nullptr && known->daemon_by_path && recognize({command_[0]}) == known &&
        command_[0].find('/') == std::string::npos) {
      const auto words = prepare_command({command_[0]}, *known, request_.search_path);
      add({"path",
           Verdict::finding,
           fmt::format("{} executes '{}' anew, and without a search through PATH: it has to be "
                       "started by its absolute path",
                       known->name, command_[0]),
           {words[0], "drover-herd, which sees to it"}});
      command_[0] = words[0];
    }
    if (auto release = Release::find(request_.pwd))
      release_.emplace(std::move(*release), folder_.path());
    if (release_) {
      const bool knows = release_->release().in_pwd;
      run_.launch(command_, release_->start_folder(),
                  knows ? std::optional(release_->start_folder()) : std::nullopt);
    } else {
      run_.launch(command_, ".", request_.pwd.empty() ? std::nullopt : std::optional(request_.pwd));
    }
  }

  /// One whose hook leaves the lock to the garbage collector opens the file for each worker again.
  asio::awaitable<void> look_for_forgetful_hook() {
    const size_t before = own_descriptors();
    if (before == 0) co_return;
    if (before == 1) co_await run_.forked_once_more();
    own_.opened_anew = own_descriptors() > 1;
  }

  asio::awaitable<bool> reload_tried() {
    const Dialect& dialect = run_.service().dialect();
    if (dialect.daemon_by_path && run_.in_foreground()) {
      add(check_no_daemon(patient()));
      co_return false;
    }
    if (release_) release_->deploy();
    bool in_release = false;
    // Before a successor that nobody knows of is ended, which may take its pidfile along.
    const auto look = [&](const Step&) {
      in_release = in_release || (release_ && release_->has_its_own(request_.pidfile));
    };
    const ReloadReport report = co_await run_.reloaded(look);
    if (report_.interrupted_by == 0) add(check_reload(patient(), report, in_release));
    co_return report.verdict == ReloadReport::Verdict::done;
  }

  // What is looked at.

  [[nodiscard]] std::vector<Held> look() {
    const Master master = run_.master();
    return locks_.look(master ? master->pid() : 0, run_.workers());
  }

  /// Whether the command has taken PIDFILE.lock: nobody held it before.
  [[nodiscard]] bool is_own_held() const {
    try {
      auto lock = flock::LockFile::open(own_.path);
      return lock && flock::is_held(*lock);
    } catch (const Error&) {
      return false;
    }
  }

  /// On how many descriptors that are closed by exec the master has it open: what a hook opens.
  [[nodiscard]] size_t own_descriptors() {
    const auto file = os::file_at(own_.path);
    const Master master = run_.master();
    if (!file || !master) return 0;
    const flock::Opened opened = flock::look_at(master->pid(), {&*file, 1});
    return static_cast<size_t>(
        std::count_if(opened.fds.begin(), opened.fds.end(),
                      [](const flock::HeldFd& held) { return held.mode && !held.inherited; }));
  }

  // What is said of it.

  void add(Check check) { report_.checks.push_back(std::move(check)); }
  [[nodiscard]] Patient patient() {
    return {run_.service().dialect(), request_.command, request_.pidfile};
  }

  void check_what_was_seen(bool reloaded) {
    for (Check& check : check_locks(patient(), locks_.locks(), history_, own_))
      add(std::move(check));
    if (auto check = check_own_lock(patient(), own_, reloaded)) add(std::move(*check));
    const Master master = run_.master();
    if (!reloaded || !master) return add(skipped_release("there was no reload"));
    for (Check& check : check_release(patient(), release_ ? &*release_ : nullptr, master->pid()))
      add(std::move(check));
    add(check_environment(patient(), master->pid()));
  }

  // Signals.

  void handle(int number) {
    if (number == SIGCHLD)
      children_.reap();
    else
      report_.interrupted_by = number;
  }

  const CheckupRequest& request_;
  const ScratchFolder& folder_;
  ScratchLocks& locks_;
  asio::io_context io_{1};
  os::TakenSignals signals_;
  os::Children children_;
  CheckupReport report_;
  ScratchRun run_;
  std::optional<ScratchRelease> release_;
  std::vector<std::string> command_;
  LockHistory history_;
  OwnLock own_;
  bool serves_ = false;
};

}  // namespace

bool CheckupReport::has_findings() const {
  return std::any_of(checks.begin(), checks.end(),
                     [](const Check& check) { return check.verdict == Verdict::finding; });
}

std::string sign_of_life(const std::string& pidfile) {
  const std::string path = pidfile + ".lock";
  if (auto lock = flock::LockFile::open(path); lock && flock::is_held(*lock))
    return fmt::format("'{}' is held", path);
  for (const char* suffix : {"", ".oldbin", ".2"}) {
    const auto pid = flock::read_pidfile(pidfile + suffix).pid;
    if (!pid) continue;
    const auto process = os::Process::open(*pid);
    if (process ? process->alive() : errno != ESRCH)
      return fmt::format("'{}{}' names process {}, which lives", pidfile, suffix, *pid);
  }
  return "";
}

CheckupReport check_up(const CheckupRequest& request) {
  if (!os::proc_is_ours())
    throw Error::because(ENOPKG, "try the server of", request.pidfile,
                         "/proc does not show this pid namespace",
                         "mount a /proc of this namespace, as 'unshare --mount-proc' does");
  const ScratchFolder folder(request.scratch);
  ScratchLocks locks(folder.path(), request.first_free);  // first: low numbers are still free
  os::block_signals(taken_signals());
  const os::ReapableChildren reapable;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
    throw Error(errno, "adopt orphaned processes");
  return Checkup(request, folder, locks).run();
}

}  // namespace drover::herd
