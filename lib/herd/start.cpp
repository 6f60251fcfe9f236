#include "lib/herd/start.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include "lib/flock/pidfile.h"
#include "lib/herd/launch.h"
#include "lib/herd/pace.h"
#include "lib/herd/readiness.h"

namespace drover::herd {
namespace {

constexpr auto kKilled = std::chrono::seconds(10);
/// gunicorn forks its workers up to 100 ms apart.
constexpr auto kWorkersForked = std::chrono::milliseconds(250);

/// Takes over the server that an earlier herd has left. False when there were only orphans, which
/// are gone now, or when a stop was asked for.
asio::awaitable<bool> taken_over(const StartContext& c) {
  const auto found = [&] {
    return !c.service.generations().empty() || c.stop.asked() || !c.service.is_held();
  };
  // Without a pidfile it may be on its way up.
  const bool booting = !flock::read_pidfile(c.service.pidfile()).pid;
  c.service.recognize_holder();
  if (!found() && booting) co_await until(found, in(c.request.boot_timeout));
  auto generations = c.service.generations();
  if (generations.empty() && c.service.find_master()) generations = c.service.generations();
  if (generations.empty()) {
    if (!c.service.is_held() || c.stop.asked()) co_return false;
    c.waiting_for_orphans(true);
    co_await see_to_orphans(c.service, c.request.orphans, c.request.stop_timeout, c.voice);
    if (auto lock = c.service.lock_at_path(); lock && flock::is_held(*lock))
      co_await c.watch.ended(std::move(*lock));
    c.waiting_for_orphans(false);
    co_return false;
  }
  c.service.set_current(generations.front());
  c.output = Output::adopt(generations.front()->pid());
  c.voice.notice(
      fmt::format("took over the running server, master {}", generations.front()->pid()));
  co_return true;
}

/// The server that runs is stopped.
asio::awaitable<void> replaced(const StartContext& c) {
  const auto generations = c.service.generations();
  for (const Master& master : generations) {
    c.service.set_current(master);  // tells the dialect
    pass(*master, c.service.dialect().graceful, "the running master", c.voice);
  }
  const auto gone = [&] { return c.service.generations().empty() && !c.service.is_held(); };
  if (generations.empty() || !co_await until(gone, in(c.request.stop_timeout))) c.service.kill();
  co_await until(gone, in(kKilled));
}

void remove_left_pidfiles(const StartContext& c) {
  if (c.service.pidfile().empty()) return;
  for (const char* suffix : {"", ".oldbin", ".2"})
    if (const auto pid = flock::remove_stale_pidfile(c.service.pidfile() + suffix))
      c.voice.notice(fmt::format("removed '{}{}', whose writer, process {}, is gone",
                                 c.service.pidfile(), suffix, *pid));
}

void launch_it(const StartContext& c) {
  const auto command =
      prepare_command(c.request.command, c.service.dialect(), c.request.search_path);
  c.output = Output::start();
  const auto [output, errors] = c.output->server_ends();
  const Launched launched = launch({.command = command,
                                    .lock = c.service.lock(),
                                    .first_free = c.request.first_free,
                                    .notify = c.notify,
                                    .mask = c.request.mask,
                                    .output = output,
                                    .errors = errors});
  c.output->launched();
  c.service.launched(c.children, launched.pid);
  for (const std::string& warning : launched.warnings)
    c.voice.warning(warning);
}

/// Without a pidfile the command is the master.
void watch_command(Service& service) {
  if (!service.pidfile().empty() || !service.masters().living().empty()) return;
  if (auto process = os::Process::open(service.launcher()))
    service.masters().add(std::move(*process));
}

/// Until the pidfile names a master.
asio::awaitable<bool> booted(const StartContext& c) {
  const auto decided = [&] {
    watch_command(c.service);
    const auto status = c.service.launcher_status();
    const bool failed = status && status->wait_status != 0;
    const bool left_nobody = status && !c.service.is_held();
    return !c.service.generations().empty() || c.stop.asked() || failed || left_nobody;
  };
  if (!co_await until(decided, in(c.request.boot_timeout)))
    c.voice.warning(fmt::format("no master in {} s: {}", seconds(c.request.boot_timeout),
                                c.service.pidfile().empty() ? "its process cannot be watched"
                                                            : c.service.masters().problem()));
  const auto generations = c.service.generations();
  if (c.stop.asked() || generations.empty()) co_return false;
  c.service.set_current(generations.back());
  co_return true;
}

/// Until its workers serve.
asio::awaitable<bool> ready(const StartContext& c) {
  const Master master = c.service.current();
  if (!master) co_return false;
  const Dialect& dialect = c.service.dialect();
  if (!dialect.has_workers()) co_return master->alive();
  Readiness readiness(0, kWorkersForked, dialect.keeps_sockets ? master->pid() : 0);
  const auto decided = [&] {
    return c.stop.asked() || !master->alive() ||
           readiness.look(c.service.serving_processes(master->pid()));
  };
  if (!co_await until(decided, in(c.request.reload.ready_timeout))) {
    c.voice.warning(fmt::format("not ready in {} s: {}", seconds(c.request.reload.ready_timeout),
                                readiness.describe()));
    co_return false;
  }
  co_return !c.stop.asked() && master->alive();
}

/// Says so where it matters.
bool runs_already(const StartContext& c) {
  const bool refuse = c.request.if_running == IfRunning::refuse;
  if (auto lock = c.service.lock_at_path(); lock && flock::is_held(*lock)) {
    c.watch.refuse_own(*lock);
    if (refuse)
      c.voice.warning(fmt::format("'{}' is held: the server runs already", c.service.lock()));
    return true;
  }
  if (!c.service.recognize_unlocked_master()) return false;
  c.voice.warning(fmt::format(
      "'{}' is free, but '{}' names process {}, which is the server: it runs "
      "already",
      c.service.lock(), c.service.pidfile(), c.service.masters().known().back()->pid()));
  return true;
}

}  // namespace

asio::awaitable<Started> start(const StartContext& c) {
  if (runs_already(c)) {
    if (c.request.if_running == IfRunning::refuse) co_return Started::refused;
    if (c.request.if_running == IfRunning::replace) {
      co_await replaced(c);
    } else if (co_await taken_over(c)) {
      co_return Started::taken_over;
    }
    if (c.stop.asked()) co_return Started::not_started;
  }
  remove_left_pidfiles(c);
  launch_it(c);
  const bool serves = co_await booted(c) && co_await ready(c);
  if (!serves) co_return Started::not_started;
  c.voice.notice(
      fmt::format("{} serves, master {}", c.service.dialect().name, c.service.current()->pid()));
  co_return Started::serves;
}

asio::awaitable<void> see_to_orphans(const Service& service, Orphans what,
                                     std::chrono::nanoseconds patience, const Voice& voice) {
  std::vector<pid_t> pids;
  const auto orphans = service.processes();
  for (const os::Process& orphan : orphans)
    pids.push_back(orphan.pid());
  const char* then = what == Orphans::wait   ? "waiting for them"
                     : what == Orphans::term ? "stopping them"
                                             : "killing them";
  const std::string whose = service.keeps_lock()
                                ? "processes that live on"
                                : fmt::format("processes that still hold '{}'", service.lock());
  voice.warning(fmt::format("no master lives; {}: {}; {}", whose, fmt::join(pids, " "), then));
  if (what == Orphans::wait) co_return;
  const auto gone = [&] { return !service.is_held(); };
  if (what == Orphans::term) {
    for (const os::Process& orphan : orphans)
      (void)orphan.signal(SIGTERM);
    if (co_await until(gone, in(patience))) co_return;
  }
  service.kill();
  co_await until(gone, in(kKilled));
}

}  // namespace drover::herd
