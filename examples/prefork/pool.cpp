#include "examples/prefork/pool.h"

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "examples/prefork/log.h"
#include "lib/os/error.h"

namespace drover::prefork {
namespace {

using namespace std::chrono_literals;

/// A worker that lives shorter has died of something that its successor will meet, too.
constexpr auto kEarly = 1s;
constexpr auto kFirstDelay = 100ms;
constexpr auto kLongestDelay = 5s;

Clock::duration delay_after(int early_deaths) {
  if (early_deaths == 0) return 0s;
  return std::min<Clock::duration>(kFirstDelay * (1 << std::min(early_deaths - 1, 10)),
                                   kLongestDelay);
}

/// The life of a child between fork and exit: nothing may be thrown out of it into the master's
/// code.
[[noreturn]] void live(const std::function<void(int)>& run, int number) {
  try {
    run(number);
    ::_exit(0);
  } catch (const std::exception& error) {
    complain(fmt::format("worker[{}]: {}", number, error.what()));
  }
  ::_exit(1);
}

}  // namespace

Pool::Pool(Heartbeats& heartbeats, Clock::duration timeout, std::function<void(int)> run)
    : heartbeats_(heartbeats), timeout_(timeout), run_(std::move(run)), workers_(kMostWorkers) {}

void Pool::resize(int workers) { size_ = std::clamp(workers, 0, kMostWorkers); }

void Pool::replace_all() {
  for (Worker& worker : workers_)
    worker.outdated = worker.pid != 0;
}

void Pool::dismiss(int signal, Clock::duration grace) {
  size_ = 0;
  for (Worker& worker : workers_)
    tell_to_leave(worker, signal, grace);
}

void Pool::tell_to_leave(Worker& worker, int signal, Clock::duration grace) {
  if (worker.pid == 0) return;
  ::kill(worker.pid, signal);
  const auto until = Clock::now() + grace;
  worker.leave_until = std::min(worker.leave_until.value_or(until), until);
}

void Pool::signal_all(int signal) const noexcept {
  for (const Worker& worker : workers_)
    if (worker.pid != 0) ::kill(worker.pid, signal);
}

std::optional<Pool::Death> Pool::reaped(pid_t child, os::ExitStatus status) {
  const auto found = std::find_if(workers_.begin(), workers_.end(),
                                  [child](const Worker& worker) { return worker.pid == child; });
  if (found == workers_.end()) return std::nullopt;
  const Death death{static_cast<int>(found - workers_.begin()), found->up,
                    found->leave_until.has_value()};
  const auto now = Clock::now();
  const bool early = !death.expected && now - found->started < kEarly;
  const int early_deaths = early ? found->early_deaths + 1 : 0;
  *found = Worker{};
  found->early_deaths = early_deaths;
  found->start_after = now + delay_after(early_deaths);
  heartbeats_.done(death.number);
  const auto line =
      fmt::format("master: worker[{}], process {}, {}", death.number, child, status.describe());
  if (!death.expected) {
    complain(line);
  } else if (status.wait_status != 0) {
    log(line);
  }
  return death;
}

void Pool::is_up(pid_t child) {
  for (Worker& worker : workers_)
    if (worker.pid == child) worker.up = true;
}

void Pool::start(int number) {
  Worker& worker = workers_[static_cast<size_t>(number)];
  heartbeats_.begin(number);  // starting is its first piece of work
  const pid_t child = ::fork();
  if (child == 0) live(run_, number);
  const auto now = Clock::now();
  if (child < 0) {
    complain(
        fmt::format("master: {}", Error(errno, "start", fmt::format("worker[{}]", number)).what()));
    heartbeats_.done(number);
    worker.start_after = now + delay_after(++worker.early_deaths);
    return;
  }
  worker.pid = child;
  worker.started = now;
}

void Pool::maintain() {
  for (int number = 0; number < kMostWorkers; ++number) {
    Worker& worker = workers_[static_cast<size_t>(number)];
    if (worker.pid != 0 && !is_wanted(number) && !worker.leave_until)
      tell_to_leave(worker, SIGQUIT, timeout_);
    if (worker.pid == 0 && is_wanted(number) && Clock::now() >= worker.start_after) start(number);
    kill_if_overdue(number);
  }
  replace_one();
}

void Pool::replace_one() {
  if (!all_up()) return;
  const auto next = std::find_if(workers_.begin(), workers_.end(),
                                 [](const Worker& worker) { return worker.outdated; });
  if (next != workers_.end()) tell_to_leave(*next, SIGQUIT, timeout_);
}

std::optional<Clock::time_point> Pool::overdue_at(int number) const {
  const Worker& worker = workers_[static_cast<size_t>(number)];
  if (worker.pid == 0 || worker.killed) return std::nullopt;
  std::optional<Clock::time_point> at = worker.leave_until;
  if (const auto since = heartbeats_.busy_since(number))
    at = std::min(at.value_or(*since + timeout_), *since + timeout_);
  return at;
}

void Pool::kill_if_overdue(int number) {
  const auto at = overdue_at(number);
  if (!at || Clock::now() < *at) return;
  Worker& worker = workers_[static_cast<size_t>(number)];
  complain(
      fmt::format("master: worker[{}], process {}, is overdue: killing it", number, worker.pid));
  ::kill(worker.pid, SIGKILL);
  worker.killed = true;
}

std::optional<Clock::time_point> Pool::next_deadline() const {
  std::optional<Clock::time_point> next;
  const auto consider = [&next](Clock::time_point at) { next = std::min(next.value_or(at), at); };
  for (int number = 0; number < kMostWorkers; ++number) {
    const Worker& worker = workers_[static_cast<size_t>(number)];
    if (worker.pid == 0 && is_wanted(number)) consider(worker.start_after);
    if (worker.pid == 0 || worker.killed) continue;
    // A worker that begins its work right now is not overdue before that.
    consider(overdue_at(number).value_or(Clock::now() + timeout_));
  }
  return next;
}

bool Pool::empty() const noexcept {
  return std::all_of(workers_.begin(), workers_.end(),
                     [](const Worker& worker) { return worker.pid == 0; });
}

bool Pool::all_up() const noexcept {
  for (int number = 0; number < size_; ++number) {
    const Worker& worker = workers_[static_cast<size_t>(number)];
    if (!worker.up || worker.leave_until) return false;
  }
  return true;
}

}  // namespace drover::prefork
