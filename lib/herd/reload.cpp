#include "lib/herd/reload.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "lib/flock/pidfile.h"
#include "lib/herd/generation.h"
#include "lib/herd/pace.h"
#include "lib/herd/readiness.h"
#include "lib/herd/serving.h"
#include "lib/herd/shell_command.h"
#include "lib/herd/succession.h"
#include "lib/os/error.h"
#include "lib/os/signals.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;
using Verdict = ReloadReport::Verdict;

constexpr auto kBetweenProbes = std::chrono::milliseconds(100);
/// For a generation without a worker that serves: nothing is in flight.
constexpr std::chrono::nanoseconds kStopOfBroken = std::chrono::seconds(3);
constexpr auto kPutBack = std::chrono::seconds(5);
/// So many workers may end before the generation counts as broken, per worker that is wanted.
constexpr size_t kEndedPerWorker = 3;

/// Why the old generation has to go on.
struct Failure {
  std::string reason;
};
/// A stop was asked for.
struct Stopped {};

class Reload {
 public:
  explicit Reload(const ReloadContext& context)
      : c_(context),
        both_(context.pidfile, context.masters, context.dialect, context.is_company),
        ready_by_(in(context.options.ready_timeout)) {
    begin_with(context.current);
  }

  asio::awaitable<ReloadReport> run() {
    std::optional<std::string> failure;
    bool asked = false;
    try {
      if (!c_.was_begun) {
        co_await checked();
        co_await predecessor_gone();
      }
      asked = true;
      co_await successor_seen();
      co_await successor_ready();
      co_await overlapped();
      co_await old_retired();
    } catch (const Failure& reason) {
      failure = reason.reason;
    } catch (const Stopped&) {
      report_.verdict = Verdict::refused;
      report_.reason = "a stop was asked for meanwhile";
    } catch (const Error& error) {
      failure = error.what();
    }
    if (failure) {
      report_.verdict = asked ? Verdict::failed : Verdict::refused;
      report_.reason = *failure;
      if (asked) {
        report_.output = co_await c_.output();
        co_await rolled_back();
      }
    }
    end_step();
    report_.duration = Clock::now() - report_.begin;
    co_return std::move(report_);
  }

 private:
  // The steps, in their order.

  asio::awaitable<void> checked() {
    if (!c_.options.check) co_return;
    begin_step("check");
    // Named, not temporary: GCC 12 destroys temporaries of a co_await twice (GCC bug 99576).
    std::vector<std::string> variables = environment();
    std::string command = *c_.options.check;
    const CommandResult result = co_await run_command(c_.io, c_.children, std::move(command),
                                                      std::move(variables), ready_by_);
    give_up_if_stopping();
    if (!result.passed())
      throw Failure{fmt::format("'{}' {}: {}", *c_.options.check,
                                result.status ? result.status->describe() : "did not end in time",
                                result.last_line())};
  }

  /// Some servers refuse to be upgraded while the generation before them lives, and gunicorn until
  /// it has noticed that it does not (a second at most): its pidfile tells.
  asio::awaitable<void> predecessor_gone() {
    if (!c_.dialect.one_before) co_return;
    const auto alone = [&] {
      give_up_if_stopping();
      c_.masters.refresh();
      return c_.masters.living().size() <= 1;
    };
    const auto settled = [&] { return alone() && both_.is_named(); };
    if (alone()) remove_foreign_pidfile();
    if (settled()) co_return;
    begin_step("wait", "the generation before still drains");
    if (!co_await until(alone, in(c_.options.drain_timeout)))
      throw Failure{"the generation before the present one still drains"};
    // It was the other one that drained: an operator's reload had begun.
    const auto living = c_.masters.living();
    if (!old().alive() && !living.empty()) begin_with(living.front());
    co_await until(settled, in(kPutBack));
  }

  void begin_with(Master master) {
    report_.old_master = master->pid();
    both_.begin(std::move(master), c_.was_begun);
  }

  asio::awaitable<void> successor_seen() {
    begin_step("ask", os::signal_name(c_.dialect.upgrade));
    both_.before_asking();
    ready_by_ = in(c_.options.ready_timeout);
    if (!c_.was_begun && !old().signal(c_.dialect.upgrade)) throw Failure{"the master has ended"};
    if (c_.dialect.successor == Successor::same_program) co_return;
    begin_step("seen");
    const bool seen = co_await until([this] { return has_come(); }, ready_by_);
    if (!seen)
      throw Failure{fmt::format("no successor came in {} s: did the master refuse {}?",
                                seconds(c_.options.ready_timeout),
                                os::signal_name(c_.dialect.upgrade))};
    report_.new_master = next().pid();
    report_.steps.back().note = fmt::format("master {}", next().pid());
  }

  asio::awaitable<void> successor_ready() {
    begin_step("ready");
    if (c_.dialect.has_workers())
      co_await workers_ready();
    else
      co_await settled();
    for (const Probe& probe : c_.options.probes)
      co_await passed(probe);
  }

  /// Without workers to count: what the process says, or that it lives on.
  asio::awaitable<void> settled() {
    const auto settled_at = in(c_.options.settle);
    const bool ready = co_await until(
        [&] {
          successor_must_live();
          if (said_ready()) return true;
          return !c_.said_reloading(next().pid()) && Clock::now() >= *settled_at;
        },
        std::max(ready_by_, settled_at));
    if (!ready)
      throw Failure{fmt::format("not ready in {} s: it has said RELOADING=1, and never READY=1",
                                seconds(c_.options.ready_timeout))};
  }

  asio::awaitable<void> workers_ready() {
    Readiness readiness(both_.wanted(), c_.options.settle,
                        c_.dialect.keeps_sockets ? next().pid() : 0);
    const bool ready = co_await until(
        [&] {
          successor_must_live();
          if (stays_refused()) throw Failure{"the server refused its new configuration"};
          if (said_ready()) return true;
          const bool counted = readiness.look(both_.serving_processes());
          served_ = readiness.any_serves();
          if (readiness.ended() > kEndedPerWorker * std::max<size_t>(both_.wanted(), 1))
            throw Failure{fmt::format("its workers do not stay: {}", readiness.describe())};
          return counted || (!c_.options.probes.empty() && served_);
        },
        ready_by_);
    if (!ready)
      throw Failure{fmt::format("not ready in {} s: {}", seconds(c_.options.ready_timeout),
                                readiness.describe())};
    report_.steps.back().note = readiness.describe();
  }

  asio::awaitable<void> passed(const Probe& probe) {
    for (;;) {
      ProbeSurroundings surroundings{c_.children, environment()};
      Probe question = probe;
      const std::string reason =
          co_await try_probe(c_.io, std::move(question), *ready_by_, std::move(surroundings));
      successor_must_live();
      if (reason.empty()) co_return;
      if (Clock::now() + kBetweenProbes >= *ready_by_)
        throw Failure{fmt::format("not ready in {} s: probe '{}': {}",
                                  seconds(c_.options.ready_timeout), probe.text, reason)};
      co_await alive_for(kBetweenProbes);
    }
  }

  asio::awaitable<void> overlapped() {
    if (c_.options.overlap.count() == 0 || !c_.dialect.has_two_masters()) co_return;
    begin_step("overlap");
    co_await alive_for(c_.options.overlap);
  }

  asio::awaitable<void> old_retired() {
    if (!c_.dialect.has_two_masters()) co_return;
    begin_step("retire");
    const auto drain_by = in(c_.options.drain_timeout);
    if (c_.options.retire == Retire::one_by_one && c_.dialect.fewer_workers)
      co_await one_by_one(drain_by);
    if (c_.dialect.quiesce) {
      quiesced_ = old().signal(*c_.dialect.quiesce);
      co_await until(
          [&] {
            successor_must_live();
            return both_.workers_of(old().pid()).empty();
          },
          drain_by);
    }
    (void)old().signal(c_.dialect.graceful);
    retired_ = true;
    bool told = false;
    const auto gone = [&] {
      successor_must_live();
      // Workers whose master was killed are told by us: nginx's would serve the old code for ever.
      if (!old().alive() && !std::exchange(told, true))
        signal_all(both_.old_workers(), c_.dialect.graceful);
      return !old().alive() && none_lives(both_.old_workers());
    };
    begin_step("drain");
    if (co_await until(gone, drain_by)) co_return;
    report_.steps.back().note = "cut off at the limit";
    (void)old().signal(SIGKILL);
    signal_all(both_.old_workers(), SIGKILL);
    co_await until(gone, in(kPutBack));
  }

  asio::awaitable<void> one_by_one(os::Deadline drain_by) {
    for (size_t left = both_.workers_of(old().pid()).size(); left > 0; --left) {
      if (!old().signal(*c_.dialect.fewer_workers)) co_return;
      ++taken_away_;
      co_await until(
          [&] {
            successor_must_live();
            return both_.workers_of(old().pid()).size() < left;
          },
          drain_by);
    }
  }

  /// The successor and its workers go; the old generation gets its workers back.
  asio::awaitable<void> rolled_back() {
    if (both_.is_in_place() || c_.dialect.successor == Successor::same_program) {
      if (old().alive()) report_.reason += "; this server cannot be rolled back";
      co_return;
    }
    begin_step("roll back");
    co_await successor_removed();
    if (!old().alive()) {
      report_.reason += "; the old master is gone, too";
      co_return;
    }
    if (retired_) report_.reason += "; the old master was told to stop already";
    if (quiesced_ && !retired_ && c_.dialect.restore) (void)old().signal(*c_.dialect.restore);
    for (size_t count = 0; count < taken_away_; ++count)
      (void)old().signal(*c_.dialect.more_workers);
    co_await until(
        [&] { return !old().alive() || retired_ || both_.is_put_back() || c_.stopping(); },
        in(kPutBack));
  }

  asio::awaitable<void> successor_removed() {
    const std::vector<os::Process> generation = both_.take_next_generation();
    if (!both_.next() || !next().signal(c_.dialect.graceful))
      signal_all(generation, c_.dialect.graceful);
    // A worker under load is not seen to serve at each look.
    const pid_t master = c_.dialect.keeps_sockets && both_.next() ? next().pid() : 0;
    const auto serving = [master](const os::Process& process) {
      return look_whether_serving(process.pid(), master) == Serving::yes;
    };
    const bool serves = served_ || std::any_of(generation.begin(), generation.end(), serving);
    const auto gone = [&] { return none_lives(generation); };
    if (!co_await until(gone, in(serves ? c_.options.drain_timeout : kStopOfBroken))) {
      signal_all(generation, SIGKILL);
      co_await until(gone, in(kPutBack));
    }
    if (c_.dialect.successor == Successor::waits_for_parent) remove_left_pidfile();
  }

  // What is looked at on the way.

  void give_up_if_stopping() const {
    if (c_.stopping()) throw Stopped{};
  }

  bool has_come() {
    give_up_if_stopping();
    switch (both_.look()) {
      case Succession::Sight::nothing:
        return false;
      case Succession::Sight::come:
        return true;
      case Succession::Sight::ended:
        report_.new_master = both_.ended();
        throw Failure{"the successor has ended before it wrote its pidfile"};
      case Succession::Sight::master_gone:
        throw Failure{"the master has ended"};
    }
    return false;
  }

  void successor_must_live() {
    both_.note();
    give_up_if_stopping();
    if (!next().alive())
      throw Failure{c_.dialect.has_two_masters() ? "the successor has ended"
                                                 : "the master has ended"};
  }

  /// A master that goes on as it was is deaf for a moment: the next request would be lost.
  bool stays_refused() {
    if (!both_.is_refused()) return false;
    if (!refused_at_) refused_at_ = Clock::now();
    return Clock::now() - *refused_at_ >= c_.options.settle;
  }

  [[nodiscard]] bool said_ready() const {
    return !c_.dialect.ready_too_early && c_.said_ready(next().pid());
  }

  asio::awaitable<void> alive_for(std::chrono::nanoseconds duration) {
    const auto never = [&] {
      successor_must_live();
      return false;
    };
    co_await until(never, in(duration));
  }

  [[nodiscard]] const os::Process& old() const { return *both_.old(); }
  [[nodiscard]] const os::Process& next() const { return *both_.next(); }

  /// unicorn refuses to reload when PIDFILE.oldbin names a process that lives, whosever it is.
  void remove_foreign_pidfile() const {
    const std::string path =
        c_.pidfile + (c_.dialect.successor == Successor::takes_pidfile ? ".oldbin" : ".2");
    const auto pid = flock::read_pidfile(path).pid;
    if (pid && *pid != old().pid()) ::unlink(path.c_str());
  }

  /// gunicorn may leave PIDFILE.2 behind, and a later reload would read a dead number.
  void remove_left_pidfile() const {
    try {
      (void)flock::remove_stale_pidfile(c_.pidfile + ".2");
    } catch (const Error&) {  // it is not in the way
    }
  }

  [[nodiscard]] std::vector<std::string> environment() const {
    std::vector<std::string> variables = c_.environment;
    variables.push_back(fmt::format("DROVER_MASTER={}", both_.next() ? next().pid() : old().pid()));
    return variables;
  }

  void begin_step(std::string name, std::string note = {}) {
    end_step();
    report_.steps.push_back({std::move(name), Clock::now(), {}, std::move(note)});
    c_.begun(report_.steps.back());
  }

  void end_step() {
    if (report_.steps.empty()) return;
    Step& step = report_.steps.back();
    step.duration = Clock::now() - step.begin;
  }

  const ReloadContext& c_;
  Succession both_;
  os::Deadline ready_by_;
  ReloadReport report_;
  bool served_ = false;  ///< a worker of the next generation
  std::optional<Clock::time_point> refused_at_;
  bool quiesced_ = false;
  bool retired_ = false;
  size_t taken_away_ = 0;
};

}  // namespace

asio::awaitable<ReloadReport> reload(const ReloadContext& context) {
  const auto run = std::make_unique<Reload>(context);
  co_return co_await run->run();
}

}  // namespace drover::herd
