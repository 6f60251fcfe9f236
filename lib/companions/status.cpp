#include "lib/companions/status.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "lib/companions/keepers.h"
#include "lib/flock/holders.h"
#include "lib/os/fd.h"

namespace drover::companions {
namespace {

using control::Json;
using Clock = std::chrono::steady_clock;

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

double epoch(std::chrono::system_clock::time_point moment) {
  return seconds(moment.time_since_epoch());
}

std::string uptime(double seconds) {
  const auto whole = static_cast<long long>(seconds);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

/// As gunicorn's companion manager says it.
std::string how_it_ended(const History& history) {
  if (!history.last_exit || history.reason != history.last_exit->describe()) return history.reason;
  const int status = history.last_exit->wait_status;
  return WIFSIGNALED(status) ? fmt::format("exited with signal {}", WTERMSIG(status))
                             : fmt::format("exited with status {}", WEXITSTATUS(status));
}

double left_of(const Companion& companion) {
  const auto due = companion.due();
  return due ? std::max(0.0, seconds(*due - Clock::now())) : 0;
}

}  // namespace

Holders holders_of_waited(const Manager::List& companions) {
  std::vector<std::pair<os::FileId, std::string>> waited;
  for (const auto& companion : companions)
    if (companion->machine().phase() == Phase::lock)
      if (const auto file = os::file_at(companion->spec().lock))
        waited.emplace_back(*file, companion->spec().name);
  Holders holders;
  if (waited.empty()) return holders;
  std::sort(waited.begin(), waited.end());
  std::vector<os::FileId> files;
  for (const auto& [file, name] : waited)
    files.push_back(file);
  files.erase(std::unique(files.begin(), files.end()), files.end());
  flock::visit_openers(files, flock::Whom::everybody, [&](pid_t pid, const flock::Opened& opened) {
    for (const flock::HeldFd& held : opened.fds)
      for (const auto& [file, name] : waited)
        if (held.mode && held.file == file &&
            (holders[name].empty() || holders[name].back() != pid))
          holders[name].push_back(pid);
  });
  return holders;
}

std::string description_of(const Companion& companion) {
  const History& history = companion.history();
  switch (companion.state()) {
    case State::running:
      return fmt::format("running, pid {}, uptime {}", companion.pid(),
                         uptime(seconds(Clock::now() - history.since)));
    case State::backoff:
      return fmt::format("backoff, {}, retrying in {:.0f}s", how_it_ended(history),
                         std::ceil(left_of(companion)));
    case State::stopped:
      return companion.machine().stopped_by_hand() ? "stopped, stopped manually"
                                                   : "stopped, not started";
    case State::starting:
      return "starting";
    case State::stopping:
      return "stopping";
    case State::waiting:
      switch (companion.machine().phase()) {
        case Phase::needs:
          return "waiting for what it needs";
        case Phase::time:
          return "waiting for its time";
        default:
          return "waiting for the lock";
      }
    case State::exited:
      return fmt::format("exited, {}", history.reason);
    case State::fatal:
      return fmt::format("fatal, {}, started too often", history.reason);
  }
  return "";
}

Json entry_of(const Companion& companion, const Manager& manager, const Holders& holders) {
  const Spec& spec = companion.spec();
  const History& history = companion.history();
  const Machine& machine = companion.machine();
  const bool backs_off = companion.state() == State::backoff;
  const auto now = std::chrono::system_clock::now();
  Json entry = {{"name", spec.name},
                {"state", name_of(companion.state())},
                {"pid", companion.pid() > 0 ? Json(companion.pid()) : Json(nullptr)},
                {"description", description_of(companion)}};
  entry["next_retry_at"] = backs_off ? Json(epoch(now) + left_of(companion)) : Json(nullptr);
  entry["restart_delay"] = backs_off ? Json(seconds(machine.delay())) : Json(nullptr);
  const auto& last = history.last_exit;
  const bool signalled = last && WIFSIGNALED(last->wait_status);
  entry["last_exit_code"] =
      last && !signalled ? Json(WEXITSTATUS(last->wait_status)) : Json(nullptr);
  entry["last_exit_signal"] = signalled ? Json(WTERMSIG(last->wait_status)) : Json(nullptr);
  entry["last_exit_at"] = last ? Json(epoch(history.last_exit_at)) : Json(nullptr);
  const double since = seconds(Clock::now() - history.since);
  entry["since"] = epoch(now) - since;
  entry["uptime"] = companion.state() == State::running ? Json(since) : Json(nullptr);
  entry["ready"] = companion.ready();
  entry["attempt"] = machine.attempt();
  entry["restart_count"] = history.starts > 0 ? history.starts - 1 : 0;
  entry["exit_count"] = history.exits;
  entry["kill_count"] = history.kills;
  entry["reason"] = history.reason;
  entry["pgid"] =
      machine.has_process() && companion.group() > 0 ? Json(companion.group()) : Json(nullptr);
  entry["lock"] = spec.singleton() ? Json(spec.lock) : Json(nullptr);
  entry["lock_state"] = !spec.singleton()                ? "none"
                        : machine.phase() == Phase::lock ? "waiting"
                        : machine.has_process()          ? "held"
                                                         : "free";
  const auto found = holders.find(spec.name);
  entry["holders"] = found == holders.end() ? Json::array() : Json(found->second);
  entry["removing"] = manager.is_being_removed(companion);
  if (const auto wall = companion.due_on_the_wall()) entry["next_start_at"] = *wall;
  if (!spec.description.empty()) entry["about"] = spec.description;
  return entry;
}

std::vector<std::string> reasons_of(const Companion& companion, const Manager& manager) {
  const Spec& spec = companion.spec();
  const History& history = companion.history();
  std::vector<std::string> reasons;
  if (!history.reason.empty()) reasons.push_back(history.reason);
  switch (companion.machine().phase()) {
    case Phase::lock: {
      const auto keepers = keepers_of(spec.lock, companion.pid());
      for (const Keeper& keeper : keepers)
        reasons.push_back(describe(keeper, spec.lock));
      if (keepers.empty())
        reasons.push_back(fmt::format("whoever keeps the lock '{}' is out of sight", spec.lock));
      break;
    }
    case Phase::needs:
      for (const std::string& group : manager.unmet_needs(companion))
        for (const auto& each : manager.find(group))
          if (!each->meets_needs())
            reasons.push_back(fmt::format("it needs '{}', which is {}", each->spec().name,
                                          name_of(each->state())));
      break;
    case Phase::time:
      reasons.push_back(fmt::format("its schedule is '{}'", spec.schedule->text()));
      break;
    case Phase::backoff:
      reasons.push_back(fmt::format("it is started again in {:.1f} s, for the {}. time",
                                    left_of(companion), companion.machine().attempt()));
      break;
    case Phase::fatal:
      reasons.push_back(
          fmt::format("it was started again {} times, which is max_restarts", spec.max_restarts));
      break;
    case Phase::stopped:
      reasons.emplace_back(companion.machine().stopped_by_hand() ? "somebody has stopped it"
                                                                 : "nobody has started it");
      break;
    case Phase::stopping:
      reasons.push_back(
          companion.pid() > 0
              ? fmt::format("process {} has yet to end; it is killed in {:.1f} s", companion.pid(),
                            left_of(companion))
              : fmt::format("the rest of process group {} has yet to end", companion.group()));
      break;
    case Phase::starting:
      reasons.emplace_back(spec.readiness == Readiness::settled
                               ? "it has yet to live for 'startsecs'"
                               : "it has yet to say that it is ready");
      break;
    case Phase::running:
    case Phase::exited:
      break;
  }
  return reasons;
}

Json to_json(const std::vector<Change>& changes) {
  Json list = Json::array();
  for (const Change& change : changes)
    list.push_back(
        {{"name", change.name}, {"action", name_of(change.kind)}, {"keys", change.keys}});
  return list;
}

}  // namespace drover::companions
