#include "lib/herd/herd.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <set>

#include "lib/flock/departure.h"
#include "lib/flock/inspect.h"
#include "lib/flock/pidfile.h"
#include "lib/flock/watch.h"
#include "lib/herd/children.h"
#include "lib/herd/desk.h"
#include "lib/herd/generation.h"
#include "lib/herd/launch.h"
#include "lib/herd/masters.h"
#include "lib/herd/notify_socket.h"
#include "lib/herd/output.h"
#include "lib/herd/pace.h"
#include "lib/herd/readiness.h"
#include "lib/herd/roles.h"
#include "lib/os/error.h"
#include "lib/os/folder_signal.h"
#include "lib/os/memory.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"
#include "lib/os/spawn.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;
using Descriptor = asio::posix::stream_descriptor;
using End = HerdResult::End;
using Verdict = ReloadReport::Verdict;

constexpr auto kPidfileWritten = std::chrono::seconds(1);
constexpr auto kKilled = std::chrono::seconds(10);
constexpr auto kLastWords = std::chrono::seconds(1);
/// gunicorn forks its workers up to 100 ms apart.
constexpr auto kWorkersForked = std::chrono::milliseconds(250);

sigset_t taken_signals() {
  return os::signal_set({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU,
                         SIGIO, SIGCHLD, SIGWINCH});
}

bool is_stop(int number) { return number == SIGTERM || number == SIGINT || number == SIGQUIT; }

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

std::vector<std::string> words_of(pid_t pid) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : os::read_proc(fmt::format("/proc/{}/cmdline", pid), 4096)) {
    if (c != '\0' && c != ' ') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

class Herd {
 public:
  Herd(const HerdRequest& request, const HerdVoice& voice)
      : request_(request),
        voice_(voice),
        dialect_(request.dialect),
        supervisor_(io_, request.supervisor, voice.warning),
        children_(io_),
        masters_(request.pidfile, request.lock),
        signalfd_(os::open_signalfd(taken_signals())),
        signals_(io_, signalfd_.get()),
        reload_wanted_(io_),
        watch_(io_, {}, voice.notice) {
    masters_.trust_descendants_of(::getpid());
    if (dialect_ == nullptr) dialect_ = recognize(request.command);
  }

  ~Herd() { signals_.release(); }
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
      io_.poll();
    }
    return result_;
  }

 private:
  asio::awaitable<void> life() {
    open_doors();
    if (!co_await begun()) co_return;
    state_ = "serving";
    supervisor_.ready(fmt::format("Serving: {}, master {}", dialect().name, current_->pid()));
    fork_off(reloads());
    fork_off(masters_watched());
    os::release_free_memory();
    co_await service_ended();
    ended_ = true;
    co_await nothing_left();
    if (output_) (void)output_->finish(in(kLastWords));
    result_.end = stop_ ? End::stopped : End::died;
    if (!stop_) voice_.warning(fmt::format("the server has ended by itself{}", how_it_ended()));
  }

  /// Where others can speak to us: who asks, and the server itself.
  void open_doors() {
    const std::string beside = request_.pidfile.empty() ? request_.lock : request_.pidfile;
    const auto warning = [this](const std::string& text) { voice_.warning(text); };
    if (!request_.control.empty())
      desk_.emplace(io_, request_.control,
                    DeskActions{[this] { return status(); }, [this] { return holders_json(); },
                                [this] { return reload_for_desk(); }, [this] { stop_gracefully(); },
                                [this](int number) { signal_for_desk(number); }},
                    warning);
    try {
      notify_.emplace(
          io_, beside + ".notify", [this](const NotifyMessage& message) { heard(message); },
          warning);
    } catch (const Error& error) {
      voice_.warning(fmt::format("{}; the server cannot say when it is ready", error.what()));
    }
  }

  void heard(const NotifyMessage& message) {
    if (!message.says("READY", "1")) return;
    said_ready_.insert(message.pid);
    for (const pid_t above : os::ancestors_of(message.pid))
      said_ready_.insert(above);
  }

  // The start.

  asio::awaitable<bool> begun() {
    if (auto lock = lock_at_path(); lock && flock::is_held(*lock)) {
      watch_.refuse_own(*lock);
      if (request_.if_running == IfRunning::refuse) {
        voice_.warning(fmt::format("'{}' is held: the server runs already", request_.lock));
        result_.end = End::refused;
        co_return false;
      }
      if (request_.if_running == IfRunning::adopt) {
        if (co_await adopted()) co_return true;
      } else {
        co_await previous_gone();
      }
      if (stop_) co_return give_up();
    }
    co_return co_await started();
  }

  /// Takes over the server that an earlier herd has left. False when only orphans were found, which
  /// are gone now.
  asio::awaitable<bool> adopted() {
    watch_pidfile();
    const auto found = [&] { return masters_.refresh() || stop_ || !is_held(); };
    // No pidfile: it may be on its way up.
    const bool booting = !flock::read_pidfile(request_.pidfile).pid;
    if (booting) {
      co_await until(found, in(request_.boot_timeout));
    } else {
      found();
    }
    const auto living = masters_.living();
    if (living.empty()) {
      if (is_held()) co_await orphans_gone();
      co_return false;
    }
    current_ = living.front();
    output_ = Output::adopt(current_->pid());
    recognize_running();
    voice_.notice(fmt::format("took over the running server, master {}", current_->pid()));
    if (living.size() > 1) {
      successor_ = living.back();
      ask_for_reload("a reload that was under way");
    }
    co_return true;
  }

  asio::awaitable<void> previous_gone() {
    masters_.refresh();
    for (const Master& master : masters_.living()) {
      voice_.notice(fmt::format("stopping the running server, master {}", master->pid()));
      (void)master->signal(graceful_of(*master));
    }
    if (masters_.living().empty()) {
      co_await orphans_gone();
      co_return;
    }
    if (!co_await until([&] { return !is_held(); }, in(request_.stop_timeout))) kill_holders();
    co_await until([&] { return !is_held(); }, in(kKilled));
  }

  asio::awaitable<bool> started() {
    remove_left_pidfiles();
    const std::vector<std::string> command =
        prepare_command(request_.command, dialect(), request_.search_path);
    output_ = Output::start();
    const auto [out, err] = output_->server_ends();
    const Launched launched = launch({.command = command,
                                      .lock = request_.lock,
                                      .first_free = request_.first_free,
                                      .notify = notify_ ? notify_->path() : "",
                                      .mask = request_.mask,
                                      .output = out,
                                      .errors = err});
    output_->launched();
    for (const std::string& warning : launched.warnings)
      voice_.warning(warning);
    launched_.emplace(children_, launched.pid);
    if (!co_await booted()) co_return give_up();
    recognize_running();
    if (!co_await serves()) co_return give_up();
    voice_.notice(fmt::format("{} serves, master {}", dialect().name, current_->pid()));
    co_return true;
  }

  /// Until the pidfile names a master.
  asio::awaitable<bool> booted() {
    if (request_.pidfile.empty()) {
      if (auto process = os::Process::open(launched_->pid())) masters_.add(std::move(*process));
      current_ = masters_.current();
      co_return current_ != nullptr;
    }
    watch_pidfile();
    const auto decided = [&] {
      return masters_.refresh() || stop_ || launcher_failed() || nobody_left();
    };
    if (!co_await until(decided, in(request_.boot_timeout)))
      voice_.warning(
          fmt::format("no master in {} s: {}", seconds(request_.boot_timeout), masters_.problem()));
    const auto living = masters_.living();
    if (stop_ || living.empty()) co_return false;
    current_ = living.back();
    co_return true;
  }

  asio::awaitable<bool> serves() {
    if (!dialect().has_workers()) co_return current_->alive();
    Readiness readiness(0, kWorkersForked, dialect().keeps_sockets ? current_->pid() : 0);
    const auto decided = [&] {
      return stop_ || !current_->alive() || readiness.look(serving_processes());
    };
    if (!co_await until(decided, in(request_.reload.ready_timeout))) {
      voice_.warning(fmt::format("not ready in {} s: {}", seconds(request_.reload.ready_timeout),
                                 readiness.describe()));
      co_return false;
    }
    co_return !stop_ && current_->alive();
  }

  [[nodiscard]] std::vector<pid_t> serving_processes() const {
    auto workers = workers_of(current_->pid(), {});
    if (workers.empty() && dialect().successor == Successor::in_place)
      workers.push_back(current_->pid());
    return workers;
  }

  /// The server did not come up, or was stopped on the way: nothing of it stays.
  bool give_up() {
    result_.end = stop_ ? End::stopped : End::not_started;
    result_.launcher = launcher_status();
    if (!stop_) voice_.warning(fmt::format("the server did not start{}", how_it_ended()));
    kill_everything();
    return false;
  }

  [[nodiscard]] bool launcher_failed() const {
    const auto status = launcher_status();
    return status && status->wait_status != 0;
  }
  [[nodiscard]] std::optional<os::ExitStatus> launcher_status() const {
    return launched_ ? launched_->status() : std::nullopt;
  }
  /// The launcher has gone and left nobody.
  [[nodiscard]] bool nobody_left() { return launcher_status() && !is_held(); }

  void remove_left_pidfiles() {
    if (request_.pidfile.empty()) return;
    for (const char* suffix : {"", ".oldbin", ".2"})
      if (const auto pid = flock::remove_stale_pidfile(request_.pidfile + suffix))
        voice_.notice(fmt::format("removed '{}{}', whose writer, process {}, is gone",
                                  request_.pidfile, suffix, *pid));
  }

  // The end.

  asio::awaitable<void> service_ended() {
    for (;;) {
      if (auto lock = lock_at_path(); lock && flock::is_held(*lock))
        co_await watch_.ended(std::move(*lock));
      flock::wait_for_exiting_processes(Clock::now() + std::chrono::seconds(1));
      masters_.refresh();
      const auto living = masters_.living();
      if (living.empty()) co_return;
      say_that_lock_is_lost(*living.back());
      co_await ended(living.back());
    }
  }

  asio::awaitable<void> ended(Master master) {
    os::Fd copy = os::duplicate(master->fd(), 3, false);
    if (!copy) throw Error(errno, "watch process", std::to_string(master->pid()));
    Descriptor pidfd(io_, copy.release());
    co_await pidfd.async_wait(Descriptor::wait_read, asio::use_awaitable);
  }

  void say_that_lock_is_lost(const os::Process& master) {
    if (lock_is_lost_ || dialect().successor == Successor::in_place) return;
    lock_is_lost_ = true;
    voice_.warning(
        fmt::format("'{}' is free, but master {} lives: it has closed the lock's "
                    "descriptor; watching the process instead",
                    request_.lock, master.pid()));
  }

  /// Says when only workers are left, and does with them what was asked for.
  asio::awaitable<void> masters_watched() {
    for (;;) {
      const Master master = current();
      if (!master) break;
      co_await ended(master);
      children_.reap();
      masters_.refresh();
      if (ended_ || stop_) co_return;
      if (const Master next = current(); next && !reloading_)
        voice_.notice(
            fmt::format("master {} is gone, master {} goes on", master->pid(), next->pid()));
    }
    if (!is_held() || stop_) co_return;
    co_await orphans_gone();
  }

  asio::awaitable<void> orphans_gone() {
    const auto orphans = holders();
    std::vector<pid_t> pids;
    for (const os::Process& orphan : orphans)
      pids.push_back(orphan.pid());
    static constexpr const char* kWhat[] = {"waiting for them", "stopping them", "killing them"};
    voice_.warning(fmt::format("no master lives; processes that still hold '{}': {}; {}",
                               request_.lock, fmt::join(pids, " "),
                               kWhat[static_cast<int>(request_.orphans)]));
    if (request_.orphans == Orphans::term)
      for (const os::Process& orphan : orphans)
        (void)orphan.signal(SIGTERM);
    if (request_.orphans != Orphans::wait) {
      const bool gone =
          request_.orphans == Orphans::term &&
          co_await until([&] { return !is_held() || ended_; }, in(request_.stop_timeout));
      if (!gone) kill_holders();
    }
    if (!ended_ && request_.orphans == Orphans::wait && !current_) {
      if (auto lock = lock_at_path(); lock && flock::is_held(*lock))
        co_await watch_.ended(std::move(*lock));
    }
  }

  void stop(int number) {
    const bool first = !stop_;
    stop_ = number;
    if (first) supervisor_.stopping("Stopping");
    stopped_.clear();
    stop_masters();
    if (first) fork_off(stopped_in_time());
  }

  /// Also those that come while the stop is under way, as a reload may be.
  void stop_masters() {
    masters_.refresh();
    for (const Master& master : masters_.living())
      if (stopped_.insert(master->pid()).second) send(*master, *stop_);
    if (masters_.living().empty() && launched_ && !launcher_status() &&
        stopped_.insert(launched_->pid()).second)
      ::kill(launched_->pid(), *stop_);  // our child, not reaped: the number is its own
  }

  asio::awaitable<void> stopped_in_time() {
    const auto gone = [&] {
      if (!ended_) stop_masters();
      return ended_;
    };
    if (co_await until(gone, in(request_.stop_timeout))) co_return;
    voice_.warning(
        fmt::format("not stopped in {} s: killing what is left", seconds(request_.stop_timeout)));
    co_await until(
        [&] {
          kill_holders();
          return ended_;
        },
        std::nullopt);
  }

  asio::awaitable<void> nothing_left() {
    if (!stop_) co_return;
    const auto gone = [&] {
      children_.reap();
      return descendants().empty();
    };
    if (gone()) co_return;
    for (const os::Process& process : descendants())
      (void)process.signal(SIGTERM);
    if (co_await until(gone, in(std::chrono::seconds(2)))) co_return;
    kill_everything();
  }

  /// Everybody who descends from us, without what carries the output.
  [[nodiscard]] std::vector<os::Process> descendants() const {
    std::vector<os::Process> found = tree_of(::getpid());
    std::erase_if(found, [this](const os::Process& process) {
      return process.pid() == ::getpid() || (output_ && process.pid() == output_->pid());
    });
    return found;
  }

  [[nodiscard]] std::vector<os::Process> holders() const {
    std::vector<os::Process> found;
    const auto file = os::file_at(request_.lock);
    if (!file) return found;
    flock::visit_openers({&*file, 1}, flock::Whom::others,
                         [&](pid_t pid, const flock::Opened& opened) {
                           if (!opened.holding()) return;
                           auto process = os::Process::open(pid);
                           if (process && flock::look_at(pid, {&*file, 1}).holding())
                             found.push_back(std::move(*process));
                         });
    return found;
  }

  void kill_holders() const {
    for (const os::Process& holder : holders())
      (void)holder.signal(SIGKILL);
    for (const Master& master : masters_.living())
      (void)master->signal(SIGKILL);
  }

  /// Whoever descends from us, until nobody does.
  void kill_everything() {
    const auto limit = Clock::now() + kKilled;
    for (auto left = descendants(); !left.empty() && Clock::now() < limit; left = descendants()) {
      for (const os::Process& process : left)
        (void)process.signal(SIGKILL);
      for (const os::Process& process : left)
        (void)process.wait_dead(limit);
      children_.reap();
    }
  }

  // Reloads.

  void ask_for_reload(std::string_view who) {
    if (stop_) {
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
        asio::error_code ignored;
        co_await reload_wanted_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      }
      wanted_ = false;
      reloading_ = true;
      co_await reload_once();
      reloading_ = false;
      os::release_free_memory();
    }
  }

  asio::awaitable<void> reload_once() {
    const Master master = current();
    if (!master || stop_) co_return;
    ++reload_number_;
    voice_.notice(fmt::format("reload {}: asked for by {}", reload_number_, asked_by_));
    said_ready_.clear();
    state_ = "reloading";
    supervisor_.reloading(fmt::format("Reloading: master {}", master->pid()));
    supervisor_.extend(std::chrono::duration_cast<std::chrono::microseconds>(
        request_.reload.ready_timeout + request_.reload.overlap + request_.reload.drain_timeout));
    const OutputMark mark = output_ ? output_->mark(master->pid()) : OutputMark{};
    const ReloadContext context{
        .io = io_,
        .pidfile = request_.pidfile,
        .masters = masters_,
        .dialect = dialect(),
        .options = request_.reload,
        .current = master,
        .successor = std::exchange(successor_, nullptr),
        .children = children_,
        .environment = request_.environment,
        .stopping = [this] { return stop_.has_value(); },
        .said_ready = [this](pid_t pid) { return said_ready_.contains(pid); },
        .begun =
            [this](const Step& step) {
              if (desk_) desk_->began(reload_number_, step);
            },
        .output = [this, &mark] { return written_since(mark); },
    };
    const ReloadReport report = co_await reload(context);
    if (report.verdict == Verdict::done) {
      for (const Master& each : masters_.living())
        if (each->pid() == report.new_master) current_ = each;
    }
    say_verdict(report);
    state_ = "serving";
    if (desk_) desk_->finished(reload_number_, report);
    if (!stop_)
      supervisor_.ready(
          fmt::format("Serving: {}, master {}{}", dialect().name, current() ? current_->pid() : 0,
                      report.verdict == Verdict::done
                          ? ""
                          : fmt::format("; reload {} failed: {}", reload_number_, report.reason)));
  }

  asio::awaitable<std::vector<std::string>> written_since(const OutputMark& mark) {
    if (!output_) co_return std::vector<std::string>();
    co_await output_->catch_up();
    co_return output_->lines_since(mark);
  }

  void say_verdict(const ReloadReport& report) {
    std::string steps;
    for (const Step& step : report.steps)
      steps += fmt::format("{}{} {:.2f} s", steps.empty() ? "" : ", ", step.name,
                           seconds(step.duration));
    if (report.verdict == Verdict::done) {
      voice_.notice(fmt::format("reload {} done in {:.2f} s: master {} ({})", reload_number_,
                                seconds(report.duration), current_->pid(), steps));
      return;
    }
    voice_.warning(fmt::format(
        "reload {} {}: {}; {} ({})", reload_number_,
        report.verdict == Verdict::failed ? "failed" : "refused", report.reason,
        current() ? fmt::format("master {} goes on", current()->pid()) : "no master lives", steps));
    for (const std::string& line : report.output)
      voice_.warning("the successor wrote: " + line);
  }

  // For the control socket.

  [[nodiscard]] control::Json status() {
    masters_.refresh();
    control::Json generations = control::Json::array();
    const Master serving = current();
    for (const Master& master : masters_.living()) {
      const bool is_current = serving && master->pid() == serving->pid();
      const bool is_newer = serving && !is_current && started_after(*master, *serving);
      generations.push_back({{"master", master->pid()},
                             {"role", is_current ? "current"
                                      : is_newer ? "successor"
                                                 : "old"},
                             {"workers", workers_of(master->pid(), {})}});
    }
    std::vector<pid_t> pids;
    for (const os::Process& holder : holders())
      pids.push_back(holder.pid());
    return {{"ok", true},
            {"state", stop_                             ? "stopping"
                      : serving || state_ == "starting" ? state_
                                                        : "orphaned"},
            {"pid", ::getpid()},
            {"dialect", dialect().name},
            {"pidfile", request_.pidfile},
            {"lock", request_.lock},
            {"since_s", seconds(Clock::now() - began_)},
            {"generations", std::move(generations)},
            {"holders", pids},
            {"queued", wanted_ && reloading_}};
  }

  static bool started_after(const os::Process& one, const os::Process& other) {
    const auto first = os::read_stat(one.pid());
    const auto second = os::read_stat(other.pid());
    return first && second && first->start > second->start;
  }

  [[nodiscard]] control::Json holders_json() const {
    control::Json list = control::Json::array();
    const auto reports = flock::inspect({request_.lock});
    for (const flock::Description& description : reports.at(0).descriptions) {
      std::vector<const flock::Opener*> openers;
      for (const flock::Opener& holder : description.holders)
        openers.push_back(&holder);
      const auto roles = roles_of(openers);
      for (const flock::Opener& holder : description.holders) {
        std::vector<int> fds;
        for (const flock::HeldFd& held : holder.fds)
          fds.push_back(held.fd);
        list.push_back({{"pid", holder.pid},
                        {"role", to_string(roles.at(holder.pid))},
                        {"command", holder.command},
                        {"fds", fds}});
      }
    }
    return list;
  }

  int reload_for_desk() {
    if (stop_) throw control::Refused("failed", "a stop is under way");
    if (state_ == "starting") throw control::Refused("busy", "the server is starting");
    ask_for_reload("drover-ctl");
    return reload_number_ + 1;
  }

  void stop_gracefully() { stop(dialect().graceful); }

  void signal_for_desk(int number) {
    if (number == SIGHUP) {
      ask_for_reload("drover-ctl");
    } else if (is_stop(number)) {
      stop(number == SIGTERM ? what_term_becomes() : number);
    } else if (const Master master = current()) {
      send(*master, number);
    } else {
      throw control::Refused("failed", "no master is known");
    }
  }

  // Signals and children.

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
      children_.reap();
    } else if (number == SIGIO) {
      look_at_pidfile();
    } else if (number == SIGHUP) {
      ask_for_reload("HUP");
    } else if (is_stop(number)) {
      stop(number == SIGTERM ? what_term_becomes() : number);
    } else if (number != SIGWINCH) {
      pass_on(number);
    }
  }

  [[nodiscard]] int what_term_becomes() const {
    if (request_.stop_signal != SIGTERM) return request_.stop_signal;
    return dialect().for_term.value_or(SIGTERM);
  }

  void pass_on(int number) {
    const Master master = current();
    if (!master) {
      voice_.warning(fmt::format("cannot pass {} on: no master is known", os::signal_name(number)));
      return;
    }
    send(*master, number);
  }

  void send(const os::Process& master, int number) {
    try {
      voice_.notice(fmt::format("{} {} to master {}",
                                master.signal(number) ? "passed" : "too late to pass",
                                os::signal_name(number), master.pid()));
    } catch (const Error& error) {
      voice_.warning(error.what());
    }
  }

  /// A reload that an operator asks the server for is followed, not fought.
  void watch_pidfile() {
    if (request_.pidfile.empty() || folder_) return;
    try {
      folder_.emplace(os::split_path(request_.pidfile).first);
    } catch (const Error& error) {
      voice_.warning(error.what());
    }
  }

  void look_at_pidfile() {
    if (looking_ || reloading_ || masters_.refresh()) return;
    looking_ = true;
    fork_off(pidfile_written());
  }

  asio::awaitable<void> pidfile_written() {
    co_await until([&] { return masters_.refresh(); }, in(kPidfileWritten));
    looking_ = false;
  }

  // What is known.

  [[nodiscard]] const Dialect& dialect() const {
    return dialect_ != nullptr ? *dialect_ : *find_dialect("plain");
  }
  void recognize_running() {
    if (dialect_ == nullptr) dialect_ = recognize(words_of(current_->pid()));
  }
  [[nodiscard]] int graceful_of(const os::Process& master) const {
    const Dialect* running = dialect_ != nullptr ? dialect_ : recognize(words_of(master.pid()));
    return running != nullptr ? running->graceful : SIGTERM;
  }

  Master current() {
    if (!current_ || !current_->alive()) current_ = masters_.current();
    return current_;
  }

  [[nodiscard]] std::optional<flock::LockFile> lock_at_path() const {
    try {
      return flock::LockFile::open(request_.lock);
    } catch (const Error&) {
      return std::nullopt;
    }
  }
  [[nodiscard]] bool is_held() const {
    auto lock = lock_at_path();
    return lock && flock::is_held(*lock);
  }

  [[nodiscard]] std::string how_it_ended() const {
    const auto status = launcher_status();
    return status ? fmt::format(": process {} {}", launched_->pid(), status->describe()) : "";
  }

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
  const HerdVoice& voice_;
  const Dialect* dialect_;
  HerdResult result_;
  asio::io_context io_{1};
  Notifier supervisor_;
  Children children_;
  Masters masters_;
  const os::Fd signalfd_;
  Descriptor signals_;
  os::Timer reload_wanted_;
  std::optional<os::FolderSignal> folder_;

  std::optional<NotifySocket> notify_;
  std::set<pid_t> said_ready_;  ///< since the reload began: the senders, and whom they descend from
  std::optional<Output> output_;
  std::optional<Desk> desk_;
  std::optional<Children::Child> launched_;
  Master current_;
  Master successor_;  ///< found beside the current master when the server was taken over
  std::optional<int> stop_;
  std::set<pid_t> stopped_;
  bool ended_ = false;
  bool wanted_ = false;
  bool reloading_ = false;
  bool looking_ = false;
  bool lock_is_lost_ = false;
  std::string state_ = "starting";
  const Clock::time_point began_ = Clock::now();
  std::string asked_by_;
  int reload_number_ = 0;
  flock::Watch watch_;
};

}  // namespace

HerdResult run(const HerdRequest& request, const HerdVoice& voice) {
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
