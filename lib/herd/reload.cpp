#include "lib/herd/reload.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "lib/flock/pidfile.h"
#include "lib/herd/generation.h"
#include "lib/herd/output_process.h"
#include "lib/herd/pace.h"
#include "lib/herd/readiness.h"
#include "lib/herd/serving.h"
#include "lib/herd/shell_command.h"
#include "lib/os/error.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;
using Verdict = ReloadReport::Verdict;

constexpr auto kBetweenProbes = std::chrono::milliseconds(100);
/// For a generation without a worker that serves: nothing is in flight.
constexpr auto kStopOfBroken = std::chrono::seconds(3);
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
      : c_(context), old_(context.current), ready_by_(in(context.options.ready_timeout)) {
    look_at_old();
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
    const auto settled = [&] { return alone() && is_named(); };
    if (alone()) remove_foreign_pidfile();
    if (settled()) co_return;
    begin_step("wait", "the generation before still drains");
    if (!co_await until(alone, in(c_.options.drain_timeout)))
      throw Failure{"the generation before the present one still drains"};
    // It was the other one that drained: an operator's reload had begun.
    const auto living = c_.masters.living();
    if (!old_->alive() && !living.empty()) {
      old_ = living.front();
      look_at_old();
    }
    co_await until(settled, in(kPutBack));
  }

  void look_at_old() {
    report_.old_master = old_->pid();
    at_begin_ = workers_of(old_->pid());
    baseline_ = at_begin_.size();
    before_ = os::children_of(old_->pid());
    if (c_.was_begun) {
      const auto begun = successors_of(old_->pid());
      std::erase_if(before_, [&](pid_t child) { return contains(begun, child); });
    }
    ours_ = os::children_of(::getpid());
  }

  asio::awaitable<void> successor_seen() {
    begin_step("ask", os::signal_name(c_.dialect.upgrade));
    image_ = image_of(old_->pid());
    (void)has_reaped();
    ready_by_ = in(c_.options.ready_timeout);
    if (!c_.was_begun && !old_->signal(c_.dialect.upgrade)) throw Failure{"the master has ended"};
    if (c_.dialect.successor == Successor::same_program) {
      new_ = old_;
      co_return;
    }
    begin_step("seen");
    const bool seen = co_await until(
        [&] {
          give_up_if_stopping();
          return is_in_place() ? has_executed_itself() : has_successor();
        },
        ready_by_);
    if (!seen)
      throw Failure{fmt::format("no successor came in {} s: did the master refuse {}?",
                                seconds(c_.options.ready_timeout),
                                os::signal_name(c_.dialect.upgrade))};
    report_.new_master = new_->pid();
    report_.steps.back().note = fmt::format("master {}", new_->pid());
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
          return !c_.said_reloading(new_->pid()) && Clock::now() >= *settled_at;
        },
        std::max(ready_by_, settled_at));
    if (!ready)
      throw Failure{fmt::format("not ready in {} s: it has said RELOADING=1, and never READY=1",
                                seconds(c_.options.ready_timeout))};
  }

  asio::awaitable<void> workers_ready() {
    Readiness readiness(baseline_, c_.options.settle, c_.dialect.keeps_sockets ? new_->pid() : 0);
    const bool ready = co_await until(
        [&] {
          successor_must_live();
          if (said_ready()) return true;
          const bool counted = readiness.look(serving_processes());
          if (readiness.ended() > kEndedPerWorker * std::max<size_t>(baseline_, 1))
            throw Failure{fmt::format("its workers do not stay: {}", readiness.describe())};
          return counted || (!c_.options.probes.empty() && readiness.any_serves());
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
      quiesced_ = old_->signal(*c_.dialect.quiesce);
      co_await until(
          [&] {
            successor_must_live();
            return workers_of(old_->pid()).empty();
          },
          drain_by);
    }
    (void)old_->signal(c_.dialect.graceful);
    retired_ = true;
    bool told = false;
    const auto gone = [&] {
      successor_must_live();
      // Workers whose master was killed are told by us: nginx's would serve the old code for ever.
      if (!old_->alive() && !std::exchange(told, true))
        signal_all(old_workers_, c_.dialect.graceful);
      return !old_->alive() && none_lives(old_workers_);
    };
    begin_step("drain");
    if (co_await until(gone, drain_by)) co_return;
    report_.steps.back().note = "cut off at the limit";
    (void)old_->signal(SIGKILL);
    signal_all(old_workers_, SIGKILL);
    co_await until(gone, in(kPutBack));
  }

  asio::awaitable<void> one_by_one(os::Deadline drain_by) {
    for (size_t left = workers_of(old_->pid()).size(); left > 0; --left) {
      if (!old_->signal(*c_.dialect.fewer_workers)) co_return;
      ++taken_away_;
      co_await until(
          [&] {
            successor_must_live();
            return workers_of(old_->pid()).size() < left;
          },
          drain_by);
    }
  }

  /// The successor and its workers go; the old generation gets its workers back.
  asio::awaitable<void> rolled_back() {
    if (is_in_place() || c_.dialect.successor == Successor::same_program) {
      if (old_->alive()) report_.reason += "; this server cannot be rolled back";
      co_return;
    }
    begin_step("roll back");
    co_await successor_removed();
    if (!old_->alive()) {
      report_.reason += "; the old master is gone, too";
      co_return;
    }
    if (retired_) report_.reason += "; the old master was told to stop already";
    if (quiesced_ && !retired_ && c_.dialect.restore) (void)old_->signal(*c_.dialect.restore);
    for (size_t count = 0; count < taken_away_; ++count)
      (void)old_->signal(*c_.dialect.more_workers);
    co_await until([&] { return !old_->alive() || retired_ || is_put_back() || c_.stopping(); },
                   in(kPutBack));
  }

  asio::awaitable<void> successor_removed() {
    std::vector<os::Process> generation;
    for (const pid_t child : successors())
      for (os::Process& process : tree_of(child))
        generation.push_back(std::move(process));
    for (const os::Process& successor : came_)
      for (os::Process& process : tree_of(successor.pid()))
        if (successor.alive()) generation.push_back(std::move(process));
    if (new_)
      for (os::Process& process : tree_of(new_->pid()))
        generation.push_back(std::move(process));
    // Those whose master was killed are in no tree of its. They may have been there too shortly to
    // be seen, but are ours now, as the subreaper's.
    for (os::Process& orphan : orphans_of_reload())
      generation.push_back(std::move(orphan));
    for (os::Process& worker : new_workers_)
      generation.push_back(std::move(worker));
    if (!new_ || !new_->signal(c_.dialect.graceful)) signal_all(generation, c_.dialect.graceful);
    const bool serves = std::any_of(generation.begin(), generation.end(), [](const auto& process) {
      return look_whether_serving(process.pid()) == Serving::yes;
    });
    const auto gone = [&] { return none_lives(generation); };
    const auto limit = serves ? in(c_.options.drain_timeout) : in(kStopOfBroken);
    if (!co_await until(gone, limit)) {
      signal_all(generation, SIGKILL);
      co_await until(gone, in(kPutBack));
    }
    if (c_.dialect.successor == Successor::waits_for_parent) remove_left_pidfile();
  }

  /// Workers of the successor that have become our children since the reload began. None when the
  /// old master is dead: they might be its.
  [[nodiscard]] std::vector<os::Process> orphans_of_reload() const {
    std::vector<os::Process> found;
    if (!old_->alive()) return found;
    for (const pid_t pid : os::children_of(::getpid())) {
      auto process = os::Process::open(pid);
      const auto stat = os::read_stat(pid);
      const bool was_there = contains(ours_, pid);
      if (process && stat && stat->only_forked() && stat->command != kOutputName && !was_there &&
          pid != old_->pid() && process->alive())
        found.push_back(std::move(*process));
    }
    return found;
  }

  // What is looked at on the way.

  void give_up_if_stopping() const {
    if (c_.stopping()) throw Stopped{};
  }

  bool has_successor() {
    c_.masters.refresh();
    note_generations();
    for (const Master& master : c_.masters.living())
      if (master->pid() != old_->pid()) {
        new_ = master;
        return true;
      }
    // It may die before it has written a pidfile; and it may come although the old one has died.
    note_children(*old_, successors(), came_);
    if (std::any_of(came_.begin(), came_.end(), [](const auto& each) { return each.alive(); }))
      return false;
    if (!came_.empty() || has_reaped()) {
      if (!came_.empty()) report_.new_master = came_.back().pid();
      throw Failure{"the successor has ended before it wrote its pidfile"};
    }
    if (!old_->alive()) throw Failure{"the master has ended"};
    return false;
  }

  /// Adds those of `pids` that are children of the master: whoever has been one is followed by its
  /// pidfd, also when the master is gone.
  static void note_children(const os::Process& master, const std::vector<pid_t>& pids,
                            std::vector<os::Process>& noted) {
    for (const pid_t pid : pids) {
      const bool known = std::any_of(noted.begin(), noted.end(), [pid](const auto& process) {
        return process.pid() == pid && process.alive();
      });
      if (known) continue;
      auto process = os::Process::open(pid);
      const auto stat = os::read_stat(pid);
      if (process && stat && stat->parent == master.pid() && process->alive())
        noted.push_back(std::move(*process));
    }
  }

  void note_generations() {
    std::erase_if(new_workers_, [](const os::Process& process) { return !process.alive(); });
    note_children(*old_, workers_of(old_->pid()), old_workers_);
    // A child that has only been forked may be a worker, or about to execute the next master or a
    // helper: these are not to be ended.
    std::erase_if(old_workers_, [&](const os::Process& process) {
      const auto stat = os::read_stat(process.pid());
      const bool is_worker = (stat && stat->only_forked()) || contains(at_begin_, process.pid());
      return !is_worker || !process.alive();
    });
    if (new_ && new_ != old_) note_children(*new_, workers_of(new_->pid()), new_workers_);
  }

  /// Children of the old master that were executed since it was asked.
  [[nodiscard]] std::vector<pid_t> successors() const {
    std::vector<pid_t> found = executed_children_of(old_->pid());
    std::erase_if(found, [&](pid_t child) {
      return std::find(before_.begin(), before_.end(), child) != before_.end();
    });
    return found;
  }

  /// The old master has lost a child that was no worker: a successor that ended between two looks.
  bool has_reaped() {
    const auto stat = os::read_stat(old_->pid());
    const auto workers = workers_of(old_->pid());
    const unsigned long long faults = stat ? stat->child_faults : 0;
    const bool all_there =
        std::all_of(workers_seen_.begin(), workers_seen_.end(), [&](pid_t worker) {
          return std::find(workers.begin(), workers.end(), worker) != workers.end();
        });
    // One more that was only forked may be the successor, before it executes itself.
    if (all_there && faults_seen_) return faults != *faults_seen_;
    workers_seen_ = workers;
    faults_seen_ = faults;
    return false;
  }

  /// Another image has its initial data elsewhere (AT_RANDOM and others of getauxval(3)).
  static std::string image_of(pid_t pid) {
    return os::read_proc(fmt::format("/proc/{}/auxv", pid));
  }

  bool has_executed_itself() {
    if (!old_->alive()) throw Failure{"the master has ended"};
    const std::string now = image_of(old_->pid());
    if (!image_.empty() && (now.empty() || now == image_)) return false;
    new_ = old_;
    return true;
  }

  [[nodiscard]] std::vector<pid_t> serving_processes() const {
    std::vector<pid_t> workers = workers_of(new_->pid());
    if (is_in_place())
      std::erase_if(workers, [&](pid_t worker) {
        return std::find(before_.begin(), before_.end(), worker) != before_.end();
      });
    if (workers.empty() && baseline_ == 0) workers.push_back(new_->pid());
    return workers;
  }

  [[nodiscard]] bool is_in_place() const { return c_.dialect.successor == Successor::in_place; }

  [[nodiscard]] std::vector<pid_t> workers_of(pid_t master) const {
    if (is_in_place()) return forked_children_of(master);
    std::vector<pid_t> masters;
    for (const Master& each : c_.masters.living())
      masters.push_back(each->pid());
    return herd::workers_of(master, masters);
  }

  void successor_must_live() {
    note_generations();
    give_up_if_stopping();
    if (!new_->alive())
      throw Failure{c_.dialect.has_two_masters() ? "the successor has ended"
                                                 : "the master has ended"};
  }

  [[nodiscard]] bool said_ready() const {
    return !c_.dialect.ready_too_early && c_.said_ready(new_->pid());
  }

  asio::awaitable<void> alive_for(std::chrono::nanoseconds duration) {
    const auto never = [&] {
      successor_must_live();
      return false;
    };
    co_await until(never, in(duration));
  }

  static void signal_all(const std::vector<os::Process>& processes, int number) {
    for (const os::Process& process : processes)
      (void)process.signal(number);
  }

  static bool contains(const std::vector<pid_t>& pids, pid_t pid) {
    return std::find(pids.begin(), pids.end(), pid) != pids.end();
  }

  static bool none_lives(const std::vector<os::Process>& processes) {
    return std::none_of(processes.begin(), processes.end(),
                        [](const os::Process& process) { return process.alive(); });
  }

  /// The old master has seen the end of its successor: the pidfile names it, its workers are back.
  [[nodiscard]] bool is_put_back() const {
    return is_named() && successors().empty() && workers_of(old_->pid()).size() >= baseline_;
  }
  [[nodiscard]] bool is_named() const { return flock::read_pidfile(c_.pidfile).pid == old_->pid(); }

  /// unicorn refuses to reload when PIDFILE.oldbin names a process that lives, whosever it is.
  void remove_foreign_pidfile() const {
    const std::string path =
        c_.pidfile + (c_.dialect.successor == Successor::takes_pidfile ? ".oldbin" : ".2");
    const auto pid = flock::read_pidfile(path).pid;
    if (pid && *pid != old_->pid()) ::unlink(path.c_str());
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
    variables.push_back(fmt::format("DROVER_MASTER={}", new_ ? new_->pid() : old_->pid()));
    return variables;
  }

  static double seconds(std::chrono::nanoseconds duration) {
    return std::chrono::duration<double>(duration).count();
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
  Master old_;
  Master new_;
  os::Deadline ready_by_;
  ReloadReport report_;
  size_t baseline_ = 0;
  std::vector<pid_t> at_begin_;    ///< the old master's workers when the reload began
  std::vector<pid_t> before_;      ///< the old master's children when the reload began
  std::vector<pid_t> ours_;        ///< and those of this process
  std::vector<os::Process> came_;  ///< those that are successors, perhaps
  std::vector<os::Process> old_workers_;
  std::vector<os::Process> new_workers_;
  std::vector<pid_t> workers_seen_;
  std::optional<unsigned long long> faults_seen_;
  std::string image_;
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
