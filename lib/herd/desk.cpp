#include "lib/herd/desk.h"

#include <fmt/core.h>

#include "lib/herd/pace.h"
#include "lib/os/signals.h"

namespace drover::herd {
namespace {

using control::Json;
using control::Refused;
using Verdict = ReloadReport::Verdict;

double milliseconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

const char* name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::done:
      return "done";
    case Verdict::failed:
      return "failed";
    case Verdict::refused:
      return "refused";
  }
  return "?";
}

int signal_of(const control::Request& request) {
  const std::string name = request.required_text("signal");
  const auto number = os::parse_signal(name);
  if (!number) throw Refused("usage", fmt::format("'{}' is no signal", name));
  return *number;
}

/// What is meant for one companion shall not reach the server.
void refuse_name(const control::Request& request) {
  if (const auto name = request.text("name"))
    throw Refused("failed", fmt::format("there is no companion '{}' here", *name));
}

}  // namespace

Json to_json(int number, const ReloadReport& report) {
  Json steps = Json::array();
  for (const Step& step : report.steps)
    steps.push_back({{"name", step.name},
                     {"start_ms", milliseconds(step.begin - report.begin)},
                     {"duration_ms", milliseconds(step.duration)},
                     {"note", step.note}});
  return {{"number", number},
          {"verdict", name_of(report.verdict)},
          {"reason", report.reason},
          {"output", report.output},
          {"started_s_ago", 0.0},
          {"duration_ms", milliseconds(report.duration)},
          {"old", report.old_master},
          {"new", report.new_master == 0 ? Json(nullptr) : Json(report.new_master)},
          {"steps", std::move(steps)}};
}

Desk::Desk(asio::io_context& io, const std::string& path, Company* company, DeskActions actions,
           control::Warning warning)
    : company_(company),
      actions_(std::move(actions)),
      server_(
          io, path,
          [this](control::Request request, control::Reply& reply) {
            return handle(std::move(request), reply);
          },
          std::move(warning), company == nullptr ? control::Limits{} : company->limits(),
          company == nullptr ? control::Dialect{} : company->dialect()) {}

void Desk::happened(std::string_view event, std::string_view text) {
  events_.publish({{"event", event}, {"text", text}});
}

void Desk::began(int number, const Step& step) {
  const std::string text =
      fmt::format("reload {}: {}{}{}", number, step.name, step.note.empty() ? "" : ": ", step.note);
  const Json event{{"event", "step"}, {"reload", number}, {"name", step.name}, {"text", text}};
  events_.publish(event);
  for (Waiter& waiter : waiters_)
    if (waiter.number == number) waiter.reply.event(event);
}

void Desk::finished(int number, const ReloadReport& report) {
  last_ = to_json(number, report);
  last_begin_ = report.begin;
  happened("reload", fmt::format("reload {} {}{}{}", number, name_of(report.verdict),
                                 report.reason.empty() ? "" : ": ", report.reason));
  for (Waiter& waiter : waiters_) {
    if (waiter.number != number) continue;
    waiter.answer = Json{{"ok", report.verdict == Verdict::done}};
    if (report.verdict != Verdict::done) waiter.answer["code"] = "failed";
    waiter.answer["reason"] = report.reason;
    waiter.answer["reload"] = last_;
    waiter.reply.wake();
  }
}

void Desk::ended(bool as_asked) {
  for (Waiter& waiter : waiters_) {
    if (!waiter.answer.is_null()) continue;  // it has its verdict, and will be woken
    const bool ok = waiter.number == 0 && as_asked;
    waiter.answer = ok ? Json{{"ok", true}, {"reason", ""}}
                       : control::refusal("failed", "the server has ended");
    waiter.reply.wake();
  }
}

Json Desk::last_reload() const {
  Json reload = last_;
  if (!reload.is_null())
    reload["started_s_ago"] = seconds(std::chrono::steady_clock::now() - last_begin_);
  return reload;
}

asio::awaitable<void> Desk::handle(control::Request request, control::Reply& reply) {
  if (company_ != nullptr && company_->takes(request)) {
    co_await company_->answer(std::move(request), reply);
    co_return;
  }
  const std::string& command = request.command;
  refuse_name(request);
  if (command == "status") {
    Json answer = actions_.status();
    answer["last_reload"] = last_reload();
    if (company_ != nullptr) answer["companions"] = company_->status();
    reply.finish(answer);
  } else if (command == "holders") {
    reply.finish({{"ok", true}, {"holders", actions_.holders()}});
  } else if (command == "timeline") {
    if (last_.is_null()) throw Refused("failed", "there was no reload yet");
    reply.finish({{"ok", true}, {"reload", last_reload()}});
  } else if (command == "events") {
    co_await events_.follow(reply, request.number("since"));
  } else if (command == "reload") {
    co_await answer_of(actions_.reload(), reply);
  } else if (command == "stop") {
    actions_.stop();
    co_await answer_of(0, reply);
  } else if (command == "signal") {
    actions_.signal(signal_of(request));
    reply.finish({{"ok", true}, {"reason", ""}});
  } else {
    throw control::unknown_command(request);
  }
}

asio::awaitable<void> Desk::answer_of(int number, control::Reply& reply) {
  const auto waiter = waiters_.insert(waiters_.end(), Waiter{number, reply});
  while (waiter->answer.is_null() && !reply.gone())
    co_await reply.sleep();
  if (!waiter->answer.is_null()) reply.finish(waiter->answer);
  waiters_.erase(waiter);
}

}  // namespace drover::herd
