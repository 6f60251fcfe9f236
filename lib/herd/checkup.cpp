#include "lib/herd/checkup.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <utility>

#include "lib/flock/holders.h"
#include "lib/flock/lock_file.h"
#include "lib/flock/pidfile.h"
#include "lib/herd/launch.h"
#include "lib/herd/lock_check.h"
#include "lib/herd/release_check.h"
#include "lib/herd/scratch_run.h"
#include "lib/os/error.h"
#include "lib/os/process.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"

namespace drover::herd {
namespace {

using Descriptor = asio::posix::stream_descriptor;
using Verdict = Check::Verdict;

sigset_t taken_signals() { return os::signal_set({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD}); }

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

class Checkup {
 public:
  Checkup(const CheckupRequest& request, const ScratchFolder& folder, ScratchLocks& locks)
      : request_(request),
        folder_(folder),
        locks_(locks),
        signalfd_(os::open_signalfd(taken_signals())),
        signals_(io_, signalfd_.get()),
        children_(io_),
        run_(io_, children_, request, folder.path(), locks,
             [this] { return report_.interrupted_by != 0; }) {
    own_.path = request.pidfile + ".lock";
    children_.on_other([this](pid_t pid, os::ExitStatus status) { run_.reaped(pid, status); });
  }
  ~Checkup() { signals_.release(); }
  Checkup(const Checkup&) = delete;
  Checkup& operator=(const Checkup&) = delete;

  CheckupReport run() {
    std::exception_ptr failure;
    asio::co_spawn(io_, life(), [&](const std::exception_ptr& error) {
      failure = error;
      io_.stop();
    });
    take_signals();
    io_.run();
    if (failure) std::rethrow_exception(failure);
    return std::move(report_);
  }

 private:
  asio::awaitable<void> life() {
    check_limit();
    launch();
    std::exception_ptr failure;
    try {
      co_await tried();
    } catch (...) {
      failure = std::current_exception();  // what was started has to end all the same
    }
    report_.server = run_.service().dialect().name;
    const ScratchRun::Ending ending = co_await run_.ended();
    if (serves_) check_end(ending);
    if (failure) std::rethrow_exception(failure);
  }

  asio::awaitable<void> tried() {
    const ScratchRun::Start start = co_await run_.started();
    check_start(start);
    if (start != ScratchRun::Start::serves) co_return;
    serves_ = true;
    check_file_system();
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
      add({"reload",
           Verdict::finding,
           fmt::format("{} ignores {} unless it is a daemon", dialect.name,
                       os::signal_name(dialect.upgrade)),
           {"leave 'daemon off' out: drover-herd, and drover-wait --relay, stay in the foreground "
            "for it"}});
      co_return false;
    }
    if (release_) release_->deploy();
    const ReloadReport report = co_await run_.reloaded();
    if (report_.interrupted_by == 0) check_reload(report);
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

  void check_limit() {
    const int most = most_descriptors();
    if (most > 1025) return add({"limit", Verdict::ok, "there is room for a lock above 1024"});
    add({"limit",
         Verdict::finding,
         fmt::format("the hard limit of descriptors, {}, leaves no room for a lock above 1024",
                     most),
         {"LimitNOFILE=4096   # systemd; 'limit nofile 4096 4096' in upstart, 'ulimit -Hn 4096' "
          "before the start"}});
  }

  void check_file_system() {
    try {
      // The lock will lie beside it.
      const auto file = flock::LockFile::open(request_.pidfile);
      if (!file) return;
      const std::string kind = file->doubtful_file_system();
      if (kind.empty())
        return add({"file-system", Verdict::ok,
                    fmt::format("'{}' will be on a local file system", own_.path)});
      add({"file-system",
           Verdict::finding,
           fmt::format("'{}' would be on {}, where a lock may not be seen by every process",
                       own_.path, kind),
           {"put the pidfile into a folder of the service's own under /run"}});
    } catch (const Error&) {  // a link; whoever takes the lock will say so
    }
  }

  void check_start(ScratchRun::Start start) {
    const Master master = run_.master();
    switch (start) {
      case ScratchRun::Start::serves:
        return add({"start", Verdict::ok,
                    fmt::format("{} serves: master {}, workers: {}", patient().dialect.name,
                                master ? master->pid() : 0, run_.workers().size())});
      case ScratchRun::Start::failed: {
        const std::string end = run_.how_it_ended();
        return add({"start",
                    Verdict::finding,
                    fmt::format("the server did not start: {}", end.empty() ? "it has ended" : end),
                    {},
                    run_.last_words()});
      }
      case ScratchRun::Start::no_pidfile:
        return add({"pidfile", Verdict::finding,
                    fmt::format("the server serves, but {}", run_.service().masters().problem()),
                    cures_of_pidfile(patient()), run_.last_words()});
      case ScratchRun::Start::late:
        return add(
            {"start", Verdict::finding,
             fmt::format("the server does not serve: {}",
                         master ? run_.problem() : run_.service().masters().problem()),
             master ? cures_of_start(patient(), run_.last_words()) : cures_of_pidfile(patient()),
             run_.last_words()});
      case ScratchRun::Start::stopped:
        return;
    }
  }

  void check_reload(const ReloadReport& report) {
    const Dialect& dialect = run_.service().dialect();
    const std::string asked = os::signal_name(dialect.upgrade);
    if (report.verdict != ReloadReport::Verdict::done)
      return add({"reload",
                  Verdict::finding,
                  fmt::format("{} brings no new generation: {}", asked, report.reason),
                  {"see to it that COMMAND can be started a second time as it was the first time"},
                  report.output});
    const bool cut_off =
        std::any_of(report.steps.begin(), report.steps.end(),
                    [](const Step& step) { return step.name == "drain" && !step.note.empty(); });
    if (cut_off)
      return add(
          {"reload",
           Verdict::finding,
           fmt::format("the old generation did not obey {}", os::signal_name(dialect.graceful)),
           {"drover-herd --drain-timeout TIME, which kills it at the limit"}});
    add({"reload", Verdict::ok,
         fmt::format("{} brings a new generation, master {}, in {:.2f} s", asked, report.new_master,
                     seconds(report.duration))});
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

  void check_end(const ScratchRun::Ending& ending) {
    if (report_.interrupted_by != 0) return;
    const std::string asked = os::signal_name(ending.number);
    if (ending.outlived.empty())
      return add(
          {"stop", Verdict::ok, fmt::format("{} ends all {} processes", asked, ending.processes)});
    add({"stop",
         Verdict::finding,
         fmt::format("processes that outlive {}, and hold the lock as long: {}", asked,
                     fmt::join(ending.outlived, ", ")),
         {"close descriptor $DROVER_LOCK_FD in what the server starts"}});
  }

  // Signals.

  void take_signals() {
    signals_.async_wait(Descriptor::wait_read, [this](asio::error_code error) {
      if (error) return;
      signalfd_siginfo info{};
      while (::read(signalfd_.get(), &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD)
          children_.reap();
        else
          report_.interrupted_by = static_cast<int>(info.ssi_signo);
      }
      take_signals();
    });
  }

  const CheckupRequest& request_;
  const ScratchFolder& folder_;
  ScratchLocks& locks_;
  asio::io_context io_{1};
  const os::Fd signalfd_;
  Descriptor signals_;
  Children children_;
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
