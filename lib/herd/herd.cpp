#include "lib/herd/herd.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "lib/control/notify_socket.h"
#include "lib/flock/watch.h"
#include "lib/herd/background.h"
#include "lib/herd/claim.h"
#include "lib/herd/desk.h"
#include "lib/herd/output.h"
#include "lib/herd/pace.h"
#include "lib/herd/reloads.h"
#include "lib/herd/service.h"
#include "lib/herd/start.h"
#include "lib/herd/status.h"
#include "lib/herd/stop.h"
#include "lib/herd/vigil.h"
#include "lib/os/children.h"
#include "lib/os/error.h"
#include "lib/os/memory.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"
#include "lib/os/taken_signals.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;
using End = HerdResult::End;

/// For a reload to see that the server has ended under it.
constexpr auto kVerdict = std::chrono::seconds(2);
constexpr auto kLastWords = std::chrono::seconds(1);
/// For children of a herd that was killed before they had executed their program.
constexpr auto kClaim = std::chrono::seconds(1);
/// For what a stopped service has left below us.
constexpr auto kLeftOver = std::chrono::seconds(2);
/// For a server to take the signal of a herd that was killed.
constexpr auto kReloadLeft = std::chrono::seconds(3);
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
        signals_(io_, taken_signals(), [this](int number) { take(number); }),
        watch_(io_, {}, voice.notice),
        vigil_(io_, request, voice, service_, children_, watch_, stop_),
        reloads_({io_, request, voice, service_, children_, stop_, vigil_, supervisor_, output_,
                  company_, desk_}) {
    children_.on_other([this](pid_t pid, os::ExitStatus status) {
      service_.reaped(pid, status);
      if (output_ && pid == output_->pid()) output_->revive();
      if (company_) company_->reaped(pid, status);
    });
  }

  ~Herd() { service_.forget_launcher(); }
  Herd(const Herd&) = delete;
  Herd& operator=(const Herd&) = delete;

  HerdResult run() {
    run_until_done(io_, life());
    if (desk_) {
      desk_->ended(result_.end == End::stopped);
      io_.restart();
      io_.poll();  // the last answers
    }
    return result_;
  }

 private:
  asio::awaitable<void> life() {
    if (request_.company) invite_company();
    open_desk();
    result_.end = End::refused;
    if (!co_await claimed()) co_return;
    open_notify_socket();
    vigil_.watch_pidfile();
    if (const auto interval = supervisor_.watchdog_interval())
      in_background(io_, voice_, watchdog_fed(*interval));
    result_.end = co_await began();
    if (result_.end != End::died) co_return;
    in_background(io_, voice_, reloads_.run());
    os::release_free_memory();
    co_await vigil_.service_ended();
    co_await reloads_.wound_up(kVerdict);
    if (company_) {
      company_->stop();
      co_await until([this] { return company_->ended(); }, std::nullopt);
    }
    if (stop_.asked()) co_await end_descendants(children_, output_pid(), kLeftOver);
    if (output_) (void)output_->finish(in(kLastWords));
    if (stop_.asked()) {
      result_.end = End::stopped;
    } else {
      voice_.warning(fmt::format("the server has ended by itself{}", end_of_it()));
    }
  }

  /// `died` when it has begun, which is how it will end unless it is stopped.
  asio::awaitable<End> began() {
    const StartContext context{request_,
                               voice_,
                               service_,
                               children_,
                               watch_,
                               stop_,
                               output_,
                               notify_ ? notify_->name() : "",
                               [this](bool yes) { state_ = yes ? "orphaned" : "starting"; }};
    const Started started = co_await start(context);
    if (started == Started::refused) co_return End::refused;
    if (started == Started::not_started) co_return co_await given_up();
    state_ = "serving";
    vigil_.begin();
    supervisor_.ready(describe(service_));
    if (company_ && !stop_.asked()) company_->begin();
    if (started == Started::taken_over) in_background(io_, voice_, reload_taken_over());
    co_return End::died;
  }

  /// One that the herd before has begun, and that may have yet to be seen.
  asio::awaitable<void> reload_taken_over() {
    const auto seen = [this] { return reloads_.number() > 0 || service_.is_reloading(); };
    if (co_await until(seen, in(kReloadLeft)) && reloads_.number() == 0 && !stop_.asked())
      reloads_.go_on("the herd before, which did not end it");
  }

  asio::awaitable<End> given_up() {
    const bool as_asked = stop_.asked();
    result_.launcher = service_.launcher_status();  // before it is killed
    if (!as_asked) voice_.warning(fmt::format("the server did not start{}", end_of_it()));
    if (!as_asked) stop_.ask(service_.dialect().graceful);
    const auto gone = [this] { return !service_.is_held() && service_.launcher() == 0; };
    co_await stop_.enforced(gone, as_asked ? request_.stop_timeout : kStopOfBroken);
    co_await end_descendants(children_, output_pid(), kLeftOver);
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

  void invite_company() {
    company_ = request_.company(io_, [this](const std::string& text) {
      if (desk_) desk_->happened("companion", text);
    });
    service_.leave_out([this](pid_t child) { return company_->has(child); });
  }

  void open_desk() {
    if (!request_.control.empty())
      desk_.emplace(
          io_, request_.control, company_.get(),
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
          [this](const control::NotifyMessage& message) { reloads_.heard(message); },
          voice_.warning);
    } catch (const Error& error) {
      voice_.warning(fmt::format("{}; the server cannot say when it is ready", error.what()));
    }
  }

  void stop(int number) {
    const bool first = !stop_.asked();
    stop_.ask(number);
    if (!first) return;
    supervisor_.stopping("Stopping");
    if (company_) company_->stop();
    if (state_ != "starting")  // the start sees to it itself
      in_background(io_, voice_,
                    stop_.enforced([this] { return vigil_.ended(); }, request_.stop_timeout));
  }

  // For those who ask.

  [[nodiscard]] control::Json status() {
    return {{"ok", true},
            {"state", state()},
            {"pid", ::getpid()},
            {"dialect", service_.dialect().name},
            {"pidfile", request_.pidfile},
            {"lock", request_.lock},
            {"since_s", seconds(Clock::now() - began_at_)},
            {"generations", generations_of(service_)},
            {"holders", holder_pids(service_)},
            {"queued", reloads_.queued()}};
  }

  [[nodiscard]] std::string_view state() {
    if (stop_.asked()) return "stopping";
    if (reloads_.under_way()) return "reloading";
    if (state_ == "serving" && !service_.current()) return "orphaned";
    return state_;
  }

  int reload_for_desk() {
    if (stop_.asked()) throw control::Refused("failed", "a stop is under way");
    reloads_.ask("drover-ctl");
    return reloads_.number() + 1;
  }

  void signal_for_desk(int number) {
    if (number != SIGHUP && !is_stop(number) && !service_.current())
      throw control::Refused("failed", "no master is known");
    handle(number);
  }

  // Signals.

  void take(int number) {
    try {
      handle(number);
    } catch (const Error& error) {  // as without a descriptor for a look at /proc
      voice_.warning(error.what());
    }
  }

  void handle(int number) {
    if (number == SIGCHLD) {
      children_.reap();
    } else if (number == SIGIO) {
      vigil_.look_at_pidfile();
    } else if (number == SIGHUP) {
      reloads_.ask("HUP");
    } else if (is_stop(number)) {
      stop(number == SIGTERM ? what_term_becomes() : number);
    } else if (number == SIGWINCH) {
      // A terminal sends it for every change of its size.
    } else if (const Master master = service_.current()) {
      pass(*master, number, "master", voice_);
      if (number == SIGUSR1 && company_) company_->reopen_logs();
    } else {
      voice_.warning(fmt::format("cannot pass {} on: no master is known", os::signal_name(number)));
    }
  }

  [[nodiscard]] int what_term_becomes() const {
    if (request_.stop_signal != SIGTERM) return request_.stop_signal;
    return service_.dialect().for_term.value_or(SIGTERM);
  }

  [[nodiscard]] std::string end_of_it() const {
    const std::string end = service_.how_it_ended();
    return end.empty() ? end : ": " + end;
  }
  [[nodiscard]] pid_t output_pid() const { return output_ ? output_->pid() : 0; }

  const HerdRequest& request_;
  const Voice& voice_;
  os::Children children_{io_};  ///< outlives the coroutines, which io_ destroys
  Service service_;
  Stop stop_;
  HerdResult result_;
  asio::io_context io_{1};
  Notifier supervisor_;
  os::TakenSignals signals_;
  flock::Watch watch_;
  Claim claim_;
  std::optional<control::NotifySocket> notify_;
  std::optional<Output> output_;
  std::unique_ptr<Company> company_;
  std::optional<Desk> desk_;
  Vigil vigil_;
  Reloads reloads_;
  std::string_view state_ = "starting";
  const Clock::time_point began_at_ = Clock::now();
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
