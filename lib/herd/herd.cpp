#include "lib/herd/herd.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <set>
#include <utility>

#include "lib/flock/departure.h"
#include "lib/flock/watch.h"
#include "lib/herd/children.h"
#include "lib/herd/claim.h"
#include "lib/herd/desk.h"
#include "lib/herd/notify_socket.h"
#include "lib/herd/output.h"
#include "lib/herd/pace.h"
#include "lib/herd/service.h"
#include "lib/herd/start.h"
#include "lib/herd/status.h"
#include "lib/herd/stop.h"
#include "lib/herd/trace.h"
#include "lib/os/error.h"
#include "lib/os/folder_signal.h"
#include "lib/os/memory.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;
using Descriptor = asio::posix::stream_descriptor;
using End = HerdResult::End;
using Verdict = ReloadReport::Verdict;

constexpr auto kPidfileWritten = std::chrono::seconds(1);
/// For a reload to see that the server has ended under it.
constexpr auto kVerdict = std::chrono::seconds(2);
constexpr auto kLastWords = std::chrono::seconds(1);
/// For children of a herd that was killed before they had executed their program.
constexpr auto kClaim = std::chrono::seconds(1);
/// For what a stopped service has left below us.
constexpr auto kLeftOver = std::chrono::seconds(2);
/// For a reload that its service's end has overtaken.
constexpr auto kLastVerdict = std::chrono::milliseconds(200);
/// For a server that did not come up.
constexpr auto kStopOfBroken = std::chrono::seconds(5);

sigset_t taken_signals() {
  return os::signal_set({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU,
                         SIGIO, SIGCHLD, SIGWINCH});
}

bool is_stop(int number) { return number == SIGTERM || number == SIGINT || number == SIGQUIT; }

class Herd {
 public:
  Herd(const HerdRequest& request, const Voice& voice)
      : request_(request),
        voice_(voice),
        service_(request.pidfile, request.lock, request.dialect, request.command),
        stop_(service_, voice),
        supervisor_(io_, request.supervisor, voice.warning),
        signalfd_(os::open_signalfd(taken_signals())),
        signals_(io_, signalfd_.get()),
        reload_wanted_(io_),
        watch_(io_, {}, voice.notice) {
    children_.emplace(io_).on_other([this](pid_t pid, os::ExitStatus status) {
      service_.reaped(pid, status);
      if (output_ && pid == output_->pid()) output_->revive();
    });
  }

  ~Herd() {
    signals_.release();
    service_.forget_launcher();
  }
  Herd(const Herd&) = delete;
  Herd& operator=(const Herd&) = delete;

  HerdResult run() {
    std::exception_ptr failure;
    asio::co_spawn(io_, life(), [&](const std::exception_ptr& error) {
      failure = error;
      io_.stop();
    });
    take_signals();
    io_.run();
    if (failure) std::rethrow_exception(failure);
    if (desk_) {
      desk_->ended(result_.end == End::stopped);
      io_.restart();
      io_.poll();  // the last answers
    }
    return result_;
  }

 private:
  asio::awaitable<void> life() {
    open_desk();
    result_.end = End::refused;
    if (!co_await claimed()) co_return;
    open_notify_socket();
    watch_pidfile();
    if (const auto interval = supervisor_.watchdog_interval()) fork_off(watchdog_fed(*interval));
    result_.end = co_await began();
    if (result_.end != End::died) co_return;
    fork_off(reloads());
    fork_off(masters_watched());
    os::release_free_memory();
    co_await service_ended();
    ended_ = true;
    children_->reap();  // who has ended tells how
    co_await until([this] { return !reloading_; }, in(kVerdict));
    if (stop_.asked()) co_await end_descendants(*children_, output_pid(), kLeftOver);
    if (output_) (void)output_->finish(in(kLastWords));
    if (stop_.asked()) result_.end = End::stopped;
    if (!stop_.asked())
      voice_.warning(fmt::format("the server has ended by itself{}", end_of_it()));
    co_await last_verdict();
  }

  /// `died` when it has begun, which is how it will end unless it is stopped.
  asio::awaitable<End> began() {
    const StartContext context{request_,
                               voice_,
                               service_,
                               *children_,
                               watch_,
                               stop_,
                               output_,
                               notify_ ? notify_->path() : "",
                               [this](bool yes) { state_ = yes ? "orphaned" : "starting"; }};
    const Started started = co_await start(context);
    if (started == Started::refused) co_return End::refused;
    if (started == Started::not_started) co_return co_await given_up();
    state_ = "serving";
    keep_lock_if_lost();
    supervisor_.ready(describe());
    if (started == Started::taken_over && service_.is_reloading()) {
      reload_was_begun_ = true;
      ask_for_reload("the herd before, which did not end it");
    }
    co_return End::died;
  }

  asio::awaitable<End> given_up() {
    const bool as_asked = stop_.asked();
    result_.launcher = service_.launcher_status();  // before it is killed
    if (!as_asked) voice_.warning(fmt::format("the server did not start{}", end_of_it()));
    if (!as_asked) stop_.ask(service_.dialect().graceful);
    const auto gone = [this] { return !service_.is_held() && service_.launcher() == 0; };
    co_await stop_.enforced(gone, as_asked ? request_.stop_timeout : kStopOfBroken);
    ended_ = true;
    co_await end_descendants(*children_, output_pid(), kLeftOver);
    service_.let_go();
    if (output_) (void)output_->finish(in(kLastWords));
    co_return as_asked ? End::stopped : End::not_started;
  }

  asio::awaitable<void> watchdog_fed(std::chrono::microseconds interval) {
    os::Timer timer(io_);
    for (;;) {
      supervisor_.watchdog();
      timer.expires_after(interval);
      asio::error_code ignored;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
  }

  /// Two herds would each start a server, and each reload what the other one watches.
  asio::awaitable<bool> claimed() {
    const auto is_ours = [this] {
      claim_ = claim_service(request_.lock);
      return claim_.ours;
    };
    if (co_await until(is_ours, in(kClaim))) co_return true;
    voice_.warning(fmt::format("another herd keeps the service of '{}'", request_.lock));
    co_return false;
  }

  void open_desk() {
    if (!request_.control.empty())
      desk_.emplace(
          io_, request_.control,
          DeskActions{[this] { return status(); }, [this] { return holders_of(service_); },
                      [this] { return reload_for_desk(); },
                      [this] { stop(service_.dialect().graceful); },
                      [this](int number) { signal_for_desk(number); }},
          voice_.warning);
  }

  void open_notify_socket() {
    try {
      notify_.emplace(
          io_, (request_.pidfile.empty() ? request_.lock : request_.pidfile) + ".notify",
          [this](const NotifyMessage& message) { heard(message); }, voice_.warning);
    } catch (const Error& error) {
      voice_.warning(fmt::format("{}; the server cannot say when it is ready", error.what()));
    }
  }

  void heard(const NotifyMessage& message) {
    const auto remember = [&](std::set<pid_t>& senders) {
      senders.insert(message.pid);
      for (const pid_t above : os::ancestors_of(message.pid))
        senders.insert(above);
    };
    if (message.says("READY", "1")) remember(said_ready_);
    if (message.says("RELOADING", "1")) remember(said_reloading_);
  }

  // The end.

  asio::awaitable<void> service_ended() {
    for (;;) {
      if (auto lock = service_.lock_at_path();
          lock && (service_.keeps_lock() || flock::is_held(*lock)))
        co_await watch_.ended(std::move(*lock));
      flock::wait_for_exiting_processes(Clock::now() + std::chrono::seconds(1));
      const auto generations = service_.generations();
      if (generations.empty()) co_return;
      if (!keep_lost_lock(*generations.back())) co_await ended(*generations.back());
    }
  }

  asio::awaitable<void> ended(const os::Process& process) {
    os::Fd copy = os::duplicate(process.fd(), 3, false);
    if (!copy) throw Error(errno, "watch process", std::to_string(process.pid()));
    Descriptor pidfd(io_, copy.release());
    co_await pidfd.async_wait(Descriptor::wait_read, asio::use_awaitable);
  }

  /// Once it has happened it will happen at each reload.
  bool keep_lost_lock(const os::Process& master) {
    const bool kept = service_.keep_lock();
    if (std::exchange(lock_is_lost_, true)) return kept;
    voice_.warning(fmt::format(
        "master {} lives, but nobody of it holds '{}': it has closed the lock's descriptor; {}",
        master.pid(), request_.lock,
        kept ? "keeping the lock for it" : "watching the process instead"));
    return kept;
  }

  void keep_lock_if_lost() {
    if (service_.is_held()) return;
    flock::wait_for_exiting_processes(Clock::now() + std::chrono::seconds(1));
    if (const Master master = service_.current()) keep_lost_lock(*master);
  }

  /// Says when only workers are left, and does with them what was asked for. A lock that was kept
  /// is let go when nobody is left: so everybody learns of the end in one way.
  asio::awaitable<void> masters_watched() {
    watching_masters_ = true;
    while (const Master master = service_.current()) {
      co_await ended(*master);
      children_->reap();
      // Its successor may be on its way up: the reload follows it.
      if (!service_.current()) co_await until([this] { return !reloading_ || ended_; }, {});
      const Master next = service_.current();
      if (ended_) co_return;
      if (next && !reloading_ && !stop_.asked())
        voice_.notice(
            fmt::format("master {} is gone, master {} goes on", master->pid(), next->pid()));
    }
    if (!stop_.asked() && service_.is_held())
      co_await see_to_orphans(service_, request_.orphans, request_.stop_timeout, voice_);
    watching_masters_ = false;
    co_await let_go_when_gone();
  }

  /// A master that comes after all the others had gone is one to be watched, too.
  void watch_masters() {
    if (!watching_masters_ && !ended_ && state_ != "starting" && service_.current())
      fork_off(masters_watched());
  }

  void stop(int number) {
    const bool first = !stop_.asked();
    stop_.ask(number);
    if (!first) return;
    supervisor_.stopping("Stopping");
    if (state_ != "starting")  // the start sees to it itself
      fork_off(stop_.enforced([this] { return ended_; }, request_.stop_timeout));
  }

  // Reloads.

  void ask_for_reload(std::string_view who) {
    if (stop_.asked()) {
      voice_.warning("cannot reload: a stop is under way");
      return;
    }
    if (reloading_) voice_.notice("one more reload will follow the present one");
    asked_by_ = who;
    wanted_ = true;
    reload_wanted_.cancel();
  }

  asio::awaitable<void> reloads() {
    for (;;) {
      while (!wanted_) {
        asio::error_code woken;
        co_await reload_wanted_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
      }
      wanted_ = false;
      reloading_ = true;
      std::string trouble;
      try {
        co_await reload_once();
      } catch (const std::exception& failure) {
        trouble = failure.what();
      }
      if (!trouble.empty()) {
        judge_kept_lock(false);
        reload_ended({.verdict = Verdict::failed, .reason = trouble});
      }
      reloading_ = false;
      os::release_free_memory();
    }
  }

  asio::awaitable<void> reload_once() {
    const Master master = service_.current();
    ++reload_number_;
    voice_.notice(fmt::format("reload {}: asked for by {}", reload_number_, asked_by_));
    if (!stop_.asked())
      supervisor_.reloading(fmt::format("Reloading: master {}", master ? master->pid() : 0));
    if (!master || stop_.asked()) {
      reload_ended({.verdict = Verdict::refused, .reason = why_not()});
      co_return;
    }
    said_ready_.clear();
    said_reloading_.clear();
    state_ = "reloading";
    const OutputMark mark = output_ ? output_->mark(master->pid()) : OutputMark{};
    const ReloadContext context{
        .io = io_,
        .pidfile = request_.pidfile,
        .masters = service_.masters(),
        .dialect = service_.dialect(),
        .options = request_.reload,
        .current = master,
        .was_begun = std::exchange(reload_was_begun_, false),
        .children = *children_,
        .environment = request_.environment,
        .stopping = [this] { return stop_.asked(); },
        .said_ready = [this](pid_t pid) { return said_ready_.contains(pid); },
        .said_reloading = [this](pid_t pid) { return said_reloading_.contains(pid); },
        .begun = [this](const Step& step) { step_begun(step); },
        .output = [this, &mark] { return written_since(mark); },
    };
    // Some programs close all descriptors when they execute themselves: nobody shall see that.
    service_.keep_lock();
    const ReloadReport report = co_await reload(context);
    for (const Master& each : service_.generations())
      if (report.verdict == Verdict::done && each->pid() == report.new_master)
        service_.set_current(each);
    judge_kept_lock(report.verdict == Verdict::done);
    reload_ended(report);
  }

  [[nodiscard]] std::string why_not() const {
    return stop_.asked() ? "a stop was asked for meanwhile"
           : ended_      ? "the server has ended"
                         : "no master lives";
  }

  /// Who asked for a reload is told what became of it, also when the service has ended under it.
  asio::awaitable<void> last_verdict() {
    if (co_await until([this] { return !reloading_ && !wanted_; }, in(kLastVerdict))) co_return;
    reload_ended(
        {.verdict = stop_.asked() ? Verdict::refused : Verdict::failed, .reason = why_not()});
  }

  /// Whether a server has lost the lock is seen after a reload that was done.
  void judge_kept_lock(bool done) {
    if (service_.dialect().drops_descriptors || lock_is_lost_) return;
    if (done) {
      let_go_if_held();
    } else {
      service_.let_go();
    }
  }

  void let_go_if_held() {
    const Master current = service_.current();
    if (!current) {
      fork_off(let_go_when_gone());
    } else if (!service_.holders().empty()) {
      service_.let_go();
    } else if (service_.has_let_go(*current)) {
      keep_lost_lock(*current);
    }
  }

  asio::awaitable<void> let_go_when_gone() {
    for (auto left = service_.processes(); service_.keeps_lock(); left = service_.processes()) {
      if (left.empty()) {
        service_.let_go();
      } else {
        co_await ended(left.front());
      }
    }
  }

  void step_begun(const Step& step) {
    const ReloadOptions& options = request_.reload;
    const auto longest = std::max({options.ready_timeout, options.overlap, options.drain_timeout});
    supervisor_.extend(std::chrono::duration_cast<std::chrono::microseconds>(longest));
    supervisor_.status(fmt::format("Reloading: {} {}", step.name, step.note));
    if (desk_) desk_->began(reload_number_, step);
  }

  asio::awaitable<std::vector<std::string>> written_since(const OutputMark& mark) {
    if (!output_) co_return std::vector<std::string>();
    co_await output_->catch_up();
    co_return output_->lines_since(mark);
  }

  void reload_ended(const ReloadReport& report) {
    state_ = "serving";
    std::string steps;
    for (const Step& step : report.steps)
      steps += fmt::format("{}{} {:.2f} s", steps.empty() ? "" : ", ", step.name,
                           seconds(step.duration));
    if (!steps.empty()) steps = " (" + steps + ")";
    const Master current = service_.current();
    const pid_t serving = current ? current->pid() : 0;
    if (report.verdict == Verdict::done) {
      last_failure_.clear();
      voice_.notice(fmt::format("reload {} done in {:.2f} s: master {}{}", reload_number_,
                                seconds(report.duration), serving, steps));
    } else {
      const char* verdict = report.verdict == Verdict::failed ? "failed" : "refused";
      last_failure_ = fmt::format("; reload {} {}: {}", reload_number_, verdict, report.reason);
      voice_.warning(fmt::format(
          "reload {} {}: {}{}{}", reload_number_, verdict, report.reason,
          current ? fmt::format("; master {} goes on", serving) : "; no master lives", steps));
    }
    for (const std::string& line : report.output)
      voice_.notice("the successor wrote: " + line);
    if (desk_) desk_->finished(reload_number_, report);
    write_trace(report);
    if (!stop_.asked() && !ended_) supervisor_.ready(describe());
  }

  void write_trace(const ReloadReport& report) {
    try {
      if (!request_.trace.empty()) append_trace(request_.trace, reload_number_, report);
    } catch (const Error& error) {
      voice_.warning(error.what());
    }
  }

  // For those who ask.

  [[nodiscard]] std::string describe() {
    const Master current = service_.current();
    return fmt::format("Serving: {}, master {}{}", service_.dialect().name,
                       current ? current->pid() : 0, last_failure_);
  }

  [[nodiscard]] control::Json status() {
    const bool orphaned = state_ == "serving" && !service_.current();
    return {{"ok", true},
            {"state", stop_.asked() ? "stopping"
                      : orphaned    ? "orphaned"
                                    : state_},
            {"pid", ::getpid()},
            {"dialect", service_.dialect().name},
            {"pidfile", request_.pidfile},
            {"lock", request_.lock},
            {"since_s", seconds(Clock::now() - began_at_)},
            {"generations", generations_of(service_)},
            {"holders", holder_pids(service_)},
            {"queued", wanted_ && reloading_}};
  }

  int reload_for_desk() {
    if (stop_.asked()) throw control::Refused("failed", "a stop is under way");
    ask_for_reload("drover-ctl");
    return reload_number_ + 1;
  }

  void signal_for_desk(int number) {
    if (number != SIGHUP && !is_stop(number) && !service_.current())
      throw control::Refused("failed", "no master is known");
    handle(number);
  }

  // Signals.

  void take_signals() {
    signals_.async_wait(Descriptor::wait_read, [this](asio::error_code error) {
      if (flock::cancelled(error)) return;
      signalfd_siginfo info{};
      while (::read(signalfd_.get(), &info, sizeof info) == sizeof info)
        handle(static_cast<int>(info.ssi_signo));
      take_signals();
    });
  }

  void handle(int number) {
    if (number == SIGCHLD) {
      children_->reap();
    } else if (number == SIGIO) {
      look_at_pidfile();
    } else if (number == SIGHUP) {
      ask_for_reload("HUP");
    } else if (is_stop(number)) {
      stop(number == SIGTERM ? what_term_becomes() : number);
    } else if (number == SIGWINCH) {
      // A terminal sends it for every change of its size.
    } else if (const Master master = service_.current()) {
      pass(*master, number, "master", voice_);
    } else {
      voice_.warning(fmt::format("cannot pass {} on: no master is known", os::signal_name(number)));
    }
  }

  [[nodiscard]] int what_term_becomes() const {
    if (request_.stop_signal != SIGTERM) return request_.stop_signal;
    return service_.dialect().for_term.value_or(SIGTERM);
  }

  /// A reload that an operator asks the server for is followed, not fought.
  void watch_pidfile() {
    if (request_.pidfile.empty()) return;
    try {
      folder_.emplace(os::split_path(request_.pidfile).first);
    } catch (const Error& error) {
      voice_.warning(error.what());
    }
  }

  void look_at_pidfile() {
    if (looking_ || reloading_) return;
    if (service_.masters().refresh()) return watch_masters();
    looking_ = true;
    fork_off(pidfile_written());
  }

  asio::awaitable<void> pidfile_written() {
    const auto written = [this] { return service_.masters().refresh(); };
    if (co_await until(written, in(kPidfileWritten))) watch_masters();
    looking_ = false;
  }

  [[nodiscard]] std::string end_of_it() const {
    const std::string end = service_.how_it_ended();
    return end.empty() ? end : ": " + end;
  }
  [[nodiscard]] pid_t output_pid() const { return output_ ? output_->pid() : 0; }

  void fork_off(asio::awaitable<void> work) {
    asio::co_spawn(io_, std::move(work), [this](const std::exception_ptr& error) {
      if (!error) return;
      try {
        std::rethrow_exception(error);
      } catch (const std::exception& failure) {
        voice_.warning(failure.what());
      }
    });
  }

  const HerdRequest& request_;
  const Voice& voice_;
  std::optional<Children> children_;  ///< outlives the coroutines, which io_ destroys
  Service service_;
  Stop stop_;
  HerdResult result_;
  asio::io_context io_{1};
  Notifier supervisor_;
  const os::Fd signalfd_;
  Descriptor signals_;
  os::Timer reload_wanted_;
  flock::Watch watch_;
  Claim claim_;
  std::optional<os::FolderSignal> folder_;
  std::optional<NotifySocket> notify_;
  std::optional<Output> output_;
  std::optional<Desk> desk_;

  std::set<pid_t> said_reloading_;
  std::set<pid_t> said_ready_;  ///< since the reload began: the senders, and whom they descend from
  std::string state_ = "starting";
  std::string last_failure_;
  const Clock::time_point began_at_ = Clock::now();
  std::string asked_by_;
  int reload_number_ = 0;
  bool reload_was_begun_ = false;  ///< by the herd before
  bool wanted_ = false;
  bool reloading_ = false;
  bool looking_ = false;
  bool watching_masters_ = false;
  bool lock_is_lost_ = false;
  bool ended_ = false;
};

}  // namespace

HerdResult run(const HerdRequest& request, const Voice& voice) {
  if (!os::proc_is_ours())
    throw Error::because(ENOPKG, "follow the server of", request.lock,
                         "/proc does not show this pid namespace",
                         "mount a /proc of this namespace, as 'unshare --mount-proc' does");
  os::block_signals(taken_signals());
  const os::ReapableChildren reapable;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) throw Error(errno, "adopt orphaned processes");
  return Herd(request, voice).run();
}

}  // namespace drover::herd
