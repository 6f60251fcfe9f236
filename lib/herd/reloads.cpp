#include "lib/herd/reloads.h"

#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "lib/herd/pace.h"
#include "lib/herd/status.h"
#include "lib/herd/trace.h"
#include "lib/os/error.h"
#include "lib/os/memory.h"
#include "lib/os/procfs.h"

namespace drover::herd {

using Verdict = ReloadReport::Verdict;

void Reloads::ask(std::string_view who) {
  if (c_.stop.asked()) {
    c_.voice.warning("cannot reload: a stop is under way");
    return;
  }
  if (under_way_) c_.voice.notice("one more reload will follow the present one");
  asked_by_ = who;
  wanted_ = true;
  wanted_changed_.cancel();
}

void Reloads::go_on(std::string_view who) {
  was_begun_ = true;
  ask(who);
}

asio::awaitable<void> Reloads::run() {
  for (;;) {
    while (!wanted_) {
      asio::error_code woken;
      co_await wanted_changed_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    }
    wanted_ = false;
    under_way_ = true;
    std::string trouble;
    try {
      co_await reload_once();
    } catch (const std::exception& failure) {
      trouble = failure.what();
    }
    if (!trouble.empty()) {
      c_.vigil.reload_ended(false);
      ended({.verdict = Verdict::failed, .reason = trouble});
    }
    under_way_ = false;
    os::release_free_memory();
  }
}

asio::awaitable<void> Reloads::wound_up(std::chrono::nanoseconds limit) {
  const auto all_said = [this] { return !under_way_ && !wanted_; };
  if (!co_await until(all_said, in(limit)))
    ended({.verdict = c_.stop.asked() ? Verdict::refused : Verdict::failed, .reason = why_not()});
  over_ = true;
}

asio::awaitable<void> Reloads::reload_once() {
  const Master master = c_.service.current();
  ++number_;
  c_.voice.notice(fmt::format("reload {}: asked for by {}", number_, asked_by_));
  if (!c_.stop.asked())
    c_.supervisor.reloading(fmt::format("Reloading: master {}", master ? master->pid() : 0));
  if (!master || c_.stop.asked()) {
    ended({.verdict = Verdict::refused, .reason = why_not()});
    co_return;
  }
  said_ready_.clear();
  said_reloading_.clear();
  const OutputMark mark = c_.output ? c_.output->mark(master->pid()) : OutputMark{};
  const ReloadContext context{
      .io = c_.io,
      .pidfile = c_.request.pidfile,
      .masters = c_.service.masters(),
      .dialect = c_.service.dialect(),
      .options = c_.request.reload,
      .current = master,
      .was_begun = std::exchange(was_begun_, false),
      .children = c_.children,
      .environment = c_.request.environment,
      .stopping = [this] { return c_.stop.asked(); },
      .said_ready = [this](pid_t pid) { return said_ready_.contains(pid); },
      .said_reloading = [this](pid_t pid) { return said_reloading_.contains(pid); },
      .is_company = [this](pid_t child) { return c_.company && c_.company->has(child); },
      .begun = [this](const Step& step) { begun(step); },
      .output = [this, &mark] { return written_since(mark); },
  };
  c_.vigil.reload_begins();
  const ReloadReport report = co_await reload(context);
  const bool done = report.verdict == Verdict::done;
  for (const Master& each : c_.service.generations())
    if (done && each->pid() == report.new_master) c_.service.set_current(each);
  c_.vigil.reload_ended(done);
  ended(report);
  if (done && c_.company && !c_.stop.asked()) c_.company->server_reloaded();
}

asio::awaitable<std::vector<std::string>> Reloads::written_since(const OutputMark& mark) {
  if (!c_.output) co_return std::vector<std::string>();
  co_await c_.output->catch_up();
  co_return c_.output->lines_since(mark);
}

std::string Reloads::why_not() const {
  return c_.stop.asked()    ? "a stop was asked for meanwhile"
         : c_.vigil.ended() ? "the server has ended"
                            : "no master lives";
}

void Reloads::begun(const Step& step) {
  const ReloadOptions& options = c_.request.reload;
  const auto longest = std::max({options.ready_timeout, options.overlap, options.drain_timeout});
  c_.supervisor.extend(std::chrono::duration_cast<std::chrono::microseconds>(longest));
  c_.supervisor.status(fmt::format("Reloading: {} {}", step.name, step.note));
  if (c_.desk) c_.desk->began(number_, step);
}

void Reloads::ended(const ReloadReport& report) {
  if (over_) return;
  say_verdict(report);
  if (c_.desk) c_.desk->finished(number_, report);
  write_trace(report);
  if (!c_.stop.asked() && !c_.vigil.ended())
    c_.supervisor.ready(describe(c_.service) + last_failure_);
}

void Reloads::say_verdict(const ReloadReport& report) {
  std::string steps;
  for (const Step& step : report.steps)
    steps +=
        fmt::format("{}{} {:.2f} s", steps.empty() ? "" : ", ", step.name, seconds(step.duration));
  if (!steps.empty()) steps = " (" + steps + ")";
  const Master current = c_.service.current();
  const pid_t serving = current ? current->pid() : 0;
  if (report.verdict == Verdict::done) {
    last_failure_.clear();
    c_.voice.notice(fmt::format("reload {} done in {:.2f} s: master {}{}", number_,
                                seconds(report.duration), serving, steps));
  } else {
    const char* verdict = report.verdict == Verdict::failed ? "failed" : "refused";
    last_failure_ = fmt::format("; reload {} {}: {}", number_, verdict, report.reason);
    c_.voice.warning(fmt::format(
        "reload {} {}: {}{}{}", number_, verdict, report.reason,
        current ? fmt::format("; master {} goes on", serving) : "; no master lives", steps));
  }
  for (const std::string& line : report.output)
    c_.voice.notice("the successor wrote: " + line);
}

void Reloads::write_trace(const ReloadReport& report) {
  try {
    if (!c_.request.trace.empty()) append_trace(c_.request.trace, number_, report);
  } catch (const Error& error) {
    c_.voice.warning(error.what());
  }
}

void Reloads::heard(const control::NotifyMessage& message) {
  const auto remember = [&](std::set<pid_t>& senders) {
    senders.insert(message.pid);
    for (const pid_t above : os::ancestors_of(message.pid))
      senders.insert(above);
  };
  if (message.says("READY", "1")) remember(said_ready_);
  if (message.says("RELOADING", "1")) remember(said_reloading_);
}

}  // namespace drover::herd
