#include "lib/companions/desk.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>

#include "lib/companions/keepers.h"
#include "lib/companions/request.h"
#include "lib/companions/status.h"
#include "lib/control/alarm.h"
#include "lib/os/error.h"
#include "lib/os/signals.h"

namespace drover::companions {
namespace {

using control::Json;
using control::Refused;
using control::Reply;
using control::Request;

bool is_up(State state) {
  return state == State::starting || state == State::running || state == State::stopping;
}

/// Whether the companion does already what is asked for.
const char* already(Event event, const Companion& companion) {
  const State state = companion.state();
  if (event == Event::start && state == State::running) return "running";
  if (event == Event::start && state == State::starting) return "starting";
  if (event == Event::start && state == State::waiting &&
      companion.machine().phase() != Phase::time)
    return "waiting";
  if (event == Event::restart && state == State::waiting) return "waiting";
  if (event == Event::stop && state == State::stopping && !companion.machine().returns())
    return "stopping";
  if (event == Event::stop && state == State::stopped) return "stopped";
  return nullptr;
}

Json state_refusal(std::string_view code, const Companion& companion) {
  const std::string& reason = companion.history().reason;
  const auto state = name_of(companion.state());
  Json answer = refusal(code, fmt::format("{} is {}{}{}", companion.spec().name, state,
                                          reason.empty() ? "" : ": ", reason));
  answer["state"] = state;
  return answer;
}

/// What is said of it when nobody waits, and when somebody has waited.
const char* done_word(Event event, State before, State after, bool is_over) {
  if (event == Event::stop) return is_over || after == State::stopped ? "stopped" : "stopping";
  if (event == Event::restart && is_up(before)) return is_over ? "restarted" : "restarting";
  return "started";
}

}  // namespace

/// What a client waits for, of one companion.
struct Desk::Goal {
  std::shared_ptr<Companion> companion;
  Event event;
  State before = companion->state();
  bool was_timed = companion->machine().phase() == Phase::time;
  unsigned starts = companion->history().starts;
  const char* had_it = already(event, *companion);  ///< what it was already; null when it was not

  enum class Verdict { open, reached, missed };
  [[nodiscard]] Verdict verdict() const {
    const State state = companion->state();
    if (event == Event::stop)
      return state == State::stopped || state == State::exited || state == State::fatal
                 ? Verdict::reached
                 : Verdict::open;
    const bool has_run = companion->history().starts > starts;
    const bool is_anew = has_run || had_it != nullptr;  // who waits anyway need not start again
    if (event == Event::restart && !is_anew && state == State::running) return Verdict::open;
    if (event == Event::restart && had_it != nullptr && was_timed) return Verdict::reached;
    if (state == State::running || (has_run && state == State::exited)) return Verdict::reached;
    if (companion->machine().phase() == Phase::time && (has_run || !was_timed))
      return Verdict::reached;
    if (state == State::stopping && companion->machine().returns()) return Verdict::open;
    return state == State::waiting || state == State::starting ? Verdict::open : Verdict::missed;
  }
};

void Desk::moved(const Companion& companion, State before) {
  const std::string& reason = companion.history().reason;
  const auto from = name_of(before);
  const auto to = name_of(companion.state());
  const double time =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  events_.publish(
      {{"event", "state"},
       {"time", time},
       {"name", companion.spec().name},
       {"from", from},
       {"to", to},
       {"reason", reason},
       {"text", fmt::format("{} -> {}{}{}", from, to, reason.empty() ? "" : ": ", reason)}});
  for (Reply* reply : *waiting_)
    reply->wake();
}

void Desk::ended() {
  has_ended_ = true;
  for (Reply* reply : *waiting_)
    reply->wake();
}

asio::awaitable<void> Desk::handle(Request request, Reply& reply) {
  try {
    co_await carry_out(request, reply);
  } catch (const Refused& refused) {
    finish(request, reply, refusal(refused.code(), refused.what()));
  } catch (const Error& error) {
    finish(request, reply, refusal("failed", error.what()));
  }
}

asio::awaitable<void> Desk::carry_out(const Request& request, Reply& reply) {
  using Answer = Json (Desk::*)(const Request&);
  static const std::map<std::string, Answer, std::less<>> kAnswers = {
      {"status", &Desk::status},  {"hello", &Desk::hello},   {"reread", &Desk::reread},
      {"why", &Desk::why},        {"reopen", &Desk::reopen}, {"signal", &Desk::signal},
      {"release", &Desk::release}};
  const std::string& command = request.command;
  const bool stops_all = is_in_own_form(request) && command == "stop" && !has_name(request);
  if (command.empty()) throw Refused("bad-request", "missing 'cmd'");
  if (const auto found = kAnswers.find(command); found != kAnswers.end()) {
    finish(request, reply, (this->*found->second)(request));
  } else if (command == "events") {
    co_await events_.follow(reply, request.number("since"));
  } else if (command == "shutdown" || stops_all) {
    co_await shut_down(request, reply);
  } else {
    (void)required_name(request);
    if (command != "start" && command != "stop" && command != "restart")
      throw Refused("unknown-command", fmt::format("unknown command '{}'", command));
    co_await change(request, reply);
  }
}

asio::awaitable<void> Desk::shut_down(const Request& request, Reply& reply) {
  manager_.stop_all();
  const Waiting waiting(*this, reply);
  while (waits(request) && !has_ended_ && !reply.gone())
    co_await reply.sleep();
  finish(request, reply, {{"ok", true}, {"message", has_ended_ ? "stopped" : "stopping"}});
}

Json Desk::hello(const Request&) {
  const auto age = std::chrono::steady_clock::now() - began_at_;
  const auto started = std::chrono::system_clock::now().time_since_epoch() - age;
  return {{"ok", true},
          {"name", "drover-companions"},
          {"protocol", control::kVersion},
          {"pid", ::getpid()},
          {"started", std::chrono::duration<double>(started).count()},
          {"socket", socket_},
          {"own_socket", own_socket_},
          {"companions", manager_.companions().size()}};
}

Desk::Companions Desk::named(const Request& request) const {
  const std::string name = required_name(request);
  Companions found = manager_.find(name);
  if (found.empty()) throw Refused("unknown-companion", fmt::format("unknown companion {}", name));
  return found;
}

Json Desk::status(const Request& request) {
  const Companions shown = has_name(request) ? named(request) : manager_.companions();
  return {{"ok", true}, {"companions", entries_of(shown)}};
}

Json Desk::entries_of(const Companions& companions) const {
  const Holders holders = holders_of_waited(companions);
  Json entries = Json::array();
  for (const auto& companion : companions)
    entries.push_back(entry_of(*companion, manager_, holders));
  return entries;
}

Json Desk::reread(const Request& request) {
  if (!actions_.read) throw Refused("not-configured", "reread not configured");
  if (manager_.is_stopping()) throw Refused("busy", "the manager is stopping");
  Specs specs;
  try {
    specs = actions_.read();
    if (!request.flag("dry_run")) Manager::prepare(specs);
  } catch (const Error& error) {
    Json answer = refusal("bad-config", fmt::format("invalid config: {}", error.what()));
    answer["kept_old_config"] = true;
    return answer;
  }
  if (request.flag("dry_run")) return {{"ok", true}, {"plan", to_json(manager_.plan(specs))}};
  const auto changes = manager_.reread(std::move(specs));
  Json answer = {{"ok", true}};
  for (const char* list : {"added", "removed", "restarted", "unchanged"})
    answer[list] = Json::array();
  for (const Change& change : changes) {
    const char* list = change.kind == Change::Kind::add       ? "added"
                       : change.kind == Change::Kind::remove  ? "removed"
                       : change.kind == Change::Kind::restart ? "restarted"
                                                              : "unchanged";
    answer[list].push_back(change.name);
  }
  answer["plan"] = to_json(changes);
  return answer;
}

Json Desk::why(const Request& request) {
  Json list = Json::array();
  const Companions asked = has_name(request) ? named(request) : manager_.companions();
  for (const auto& companion : asked)
    list.push_back({{"name", companion->spec().name},
                    {"state", name_of(companion->state())},
                    {"reasons", reasons_of(*companion, manager_)}});
  return {{"ok", true}, {"why", std::move(list)}};
}

Json Desk::reopen(const Request& request) {
  const Companions asked = has_name(request) ? named(request) : manager_.companions();
  Manager::reopen_logs(asked);
  return {{"ok", true}, {"message", "logs reopened"}};
}

Json Desk::signal(const Request& request) {
  const Companions asked = named(request);
  const std::string word = request.required_text("signal");
  const auto number = os::parse_signal(word);
  if (!number) throw Refused("bad-request", fmt::format("'{}' is no signal", word));
  for (const auto& companion : asked)
    if (companion->machine().phase() == Phase::lock ||
        !companion->signal(*number, request.flag("group")))
      throw Refused("busy", fmt::format("{} does not run", companion->spec().name));
  return {{"ok", true}, {"message", fmt::format("sent {}", os::signal_name(*number))}};
}

Json Desk::release(const Request& request) {
  const bool kills = request.flag("kill");
  Json list = Json::array();
  for (const auto& companion : named(request)) {
    if (!companion->spec().singleton()) continue;
    for (const Keeper& keeper : keepers_of(companion->spec().lock, companion->live_pid())) {
      const bool killed = kills && !keeper.is_manager && keeper.process.may_signal() &&
                          keeper.process.signal(SIGKILL);
      list.push_back({{"pid", keeper.process.pid()},
                      {"name", companion->spec().name},
                      {"command", keeper.command},
                      {"manager", keeper.is_manager},
                      {"killed", killed}});
    }
  }
  return {{"ok", true}, {"strays", std::move(list)}};
}

/// What is on its way down is waited for, where somebody waits at all.
asio::awaitable<void> Desk::until_down(os::Deadline limit, const Request& request, Reply& reply) {
  const auto is_falling = [](const auto& companion) {
    return companion->state() == State::stopping;
  };
  const Companions asked = named(request);
  control::Alarm alarm(io_);
  if (limit) alarm.set(*limit - std::chrono::steady_clock::now(), [&reply] { reply.wake(); });
  const Waiting waiting(*this, reply);
  for (;;) {
    const auto falling = std::find_if(asked.begin(), asked.end(), is_falling);
    if (falling == asked.end() || reply.gone()) co_return;
    if (limit && std::chrono::steady_clock::now() >= *limit) {
      finish(request, reply, state_refusal("timeout", **falling));
      co_return;
    }
    co_await reply.sleep();
  }
}

asio::awaitable<void> Desk::change(const Request& request, Reply& reply) {
  const std::string& command = request.command;
  const Event event = command == "start"  ? Event::start
                      : command == "stop" ? Event::stop
                                          : Event::restart;
  const os::Deadline limit = limit_of(request);
  if (waits(request) && event != Event::stop) co_await until_down(limit, request, reply);
  if (reply.finished() || reply.gone()) co_return;
  const Companions asked = named(request);  // some may have been removed meanwhile
  if (manager_.is_stopping() && event != Event::stop)
    throw Refused("busy", "the manager is stopping");
  std::vector<Goal> goals;
  for (const auto& companion : asked) {
    goals.push_back({companion, event});
    if (goals.back().had_it == nullptr && !companion->machine().takes(event))
      throw Refused("busy", fmt::format("{} is stopping; retry", companion->spec().name));
  }
  for (const Goal& goal : goals)
    if (goal.had_it == nullptr)
      goal.companion->apply(event, fmt::format("{} was asked for", command));
  if (waits(request)) co_await wait_for(goals, limit, request, reply);
  if (!reply.finished())
    finish(request, reply, {{"ok", true}, {"message", message_of(goals, waits(request))}});
}

std::string Desk::message_of(const std::vector<Goal>& goals, bool is_over) {
  std::string message;
  for (const Goal& goal : goals) {
    const Companion& companion = *goal.companion;
    const char* done = done_word(goal.event, goal.before, companion.state(), is_over);
    message += fmt::format("{}{} {}{}", message.empty() ? "" : ", ", companion.spec().name,
                           goal.had_it != nullptr ? "already " : "",
                           goal.had_it != nullptr ? goal.had_it : done);
  }
  return message;
}

asio::awaitable<void> Desk::wait_for(const std::vector<Goal>& goals, os::Deadline limit,
                                     const Request& request, Reply& reply) {
  control::Alarm alarm(io_);
  if (limit) alarm.set(*limit - std::chrono::steady_clock::now(), [&reply] { reply.wake(); });
  const Waiting waiting(*this, reply);
  for (;;) {
    const Goal* open = nullptr;
    const Goal* missed = nullptr;
    for (const Goal& goal : goals) {
      const auto verdict = goal.verdict();
      if (verdict == Goal::Verdict::open) open = &goal;
      if (verdict == Goal::Verdict::missed) missed = &goal;
    }
    const bool is_late = limit && std::chrono::steady_clock::now() >= *limit;
    if (missed != nullptr) {
      finish(request, reply, state_refusal("failed", *missed->companion));
    } else if (open != nullptr && is_late) {
      finish(request, reply, state_refusal("timeout", *open->companion));
    }
    if (open == nullptr || reply.finished() || reply.gone()) co_return;
    co_await reply.sleep();
  }
}

}  // namespace drover::companions
