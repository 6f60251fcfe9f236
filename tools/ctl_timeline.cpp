#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "tools/ctl_output.h"

namespace drover::ctl {
namespace {

struct Step {
  std::string name;
  std::string note;
  double start = 0;     ///< milliseconds since the reload's start
  double duration = 0;  ///< milliseconds
};

double not_negative(const Json& object, const std::string& name) {
  return std::max(0.0, number(object, name));
}

std::vector<Step> steps_of(const Json& reload) {
  std::vector<Step> steps;
  const Json& list = member(reload, "steps");
  if (!list.is_array()) return steps;
  for (const Json& one : list)
    steps.push_back({.name = text(one, "name"),
                     .note = text(one, "note"),
                     .start = not_negative(one, "start_ms"),
                     .duration = not_negative(one, "duration_ms")});
  return steps;
}

double length(const Json& reload, const std::vector<Step>& steps) {
  double end = not_negative(reload, "duration_ms");
  for (const Step& step : steps)
    end = std::max(end, step.start + step.duration);
  return end;
}

/// "   ####      ": at least one mark, also for a step that took no time.
std::string bar(const Step& step, double whole, size_t width) {
  const double columns = static_cast<double>(width);
  const double scale = whole > 0 ? columns / whole : 0;
  const double from = std::min(std::floor(step.start * scale), columns - 1);
  const double to = std::clamp(std::ceil((step.start + step.duration) * scale), from + 1, columns);
  std::string line(width, ' ');
  std::fill(line.begin() + static_cast<ptrdiff_t>(from), line.begin() + static_cast<ptrdiff_t>(to),
            '#');
  return line;
}

}  // namespace

std::string bars(const Json& reload, size_t width) {
  constexpr size_t kTime = 8;  // "  250 ms"
  constexpr size_t kLeast = 10;
  const auto steps = steps_of(reload);
  size_t names = 0;
  for (const Step& step : steps)
    names = std::max(names, step.name.size());
  const size_t taken = names + kTime + 4;  // a blank and two bounds; a column at the end is free
  const size_t room = std::max(width, taken + kLeast) - taken;
  std::string lines = verdict(reload) + "\n";
  if (const auto reason = text(reload, "reason"); !reason.empty()) lines += reason + "\n";
  for (const Step& step : steps) {
    lines +=
        fmt::format("{:<{}} |{}|{:>{}}\n", step.name, names, bar(step, length(reload, steps), room),
                    time_text(step.duration / 1000), kTime);
    if (!step.note.empty()) lines += fmt::format("{:{}} {}\n", "", names, step.note);
  }
  return lines;
}

std::string trace(const Json& reload) {
  const auto steps = steps_of(reload);
  const auto pid = static_cast<long long>(number(reload, "old"));
  const auto number_of_it = static_cast<long long>(number(reload, "number"));
  Json events = Json::array();
  const auto add = [&](const std::string& name, double start, double duration, Json arguments) {
    events.push_back({{"name", name},
                      {"ph", "X"},
                      {"ts", start * 1000},
                      {"dur", duration * 1000},
                      {"pid", pid},
                      {"tid", number_of_it},
                      {"args", std::move(arguments)}});
  };
  add(verdict(reload), 0, length(reload, steps), {{"reason", text(reload, "reason")}});
  for (const Step& step : steps)
    add(step.name, step.start, step.duration, {{"note", step.note}});
  return events.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace drover::ctl
