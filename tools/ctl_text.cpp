#include <fmt/core.h>

#include "lib/cli/message.h"
#include "tools/ctl_output.h"
#include "tools/table.h"

namespace drover::ctl {
namespace {

/// One that is not there, as a cell.
std::string cell(const std::string& value) { return value.empty() ? "-" : value; }

std::string plain(const Json& value) {
  if (value.is_string()) return cli::printable(value.get_ref<const std::string&>());
  if (value.is_number()) return value.dump();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return "";
}

/// Numbers, one behind the other: "124 125".
std::string joined(const Json& list) {
  std::string text;
  if (list.is_array())
    for (const Json& value : list)
      text += (text.empty() ? "" : " ") + plain(value);
  return text;
}

void add(std::string& text, std::string_view before, const std::string& value) {
  if (!value.empty()) text += fmt::format("{}{}", before, value);
}

std::string age(const Json& object, const std::string& name) {
  return member(object, name).is_number() ? time_text(number(object, name)) : "";
}

std::string status_text(const Json& answer) {
  std::string lines = text(answer, "state");
  add(lines, ": ", text(answer, "dialect"));
  add(lines, ", herd ", text(answer, "pid"));
  add(lines, ", for ", age(answer, "since_s"));
  if (member(answer, "queued") == true) lines += ", another reload is asked for";
  lines += '\n';
  for (const char* name : {"pidfile", "lock"})
    if (const auto path = text(answer, name); !path.empty())
      lines += fmt::format("{}: {}\n", name, path);
  if (const Json& holders = member(answer, "holders"); holders.is_array())
    lines += fmt::format("holders: {}\n", cell(joined(holders)));
  if (const Json& reload = member(answer, "last_reload"); reload.is_object()) {
    lines += "last " + verdict(reload);
    add(lines, ", ", age(reload, "started_s_ago"));
    if (member(reload, "started_s_ago").is_number()) lines += " ago";
    add(lines, ": ", text(reload, "reason"));
    lines += '\n';
  }
  std::vector<Row> rows = {{"MASTER", "ROLE", "GENERATION", "AGE", "READY", "WORKERS"}};
  if (const Json& generations = member(answer, "generations"); generations.is_array())
    for (const Json& one : generations)
      rows.push_back({cell(text(one, "master")), cell(text(one, "role")),
                      cell(text(one, "generation")), cell(age(one, "age_s")),
                      cell(plain(member(one, "ready"))), cell(joined(member(one, "workers")))});
  return lines + (rows.size() > 1 ? align(rows) : "");
}

std::string holders_text(const Json& holders) {
  std::vector<Row> rows = {{"PID", "ROLE", "FDS", "COMMAND"}};
  for (const Json& one : holders)
    rows.push_back({cell(text(one, "pid")), cell(text(one, "role")),
                    cell(joined(member(one, "fds"))), cell(text(one, "command"))});
  return align(rows);
}

/// For answers of which nothing is known: one member a line.
std::string any_text(const Json& answer) {
  if (const auto message = text(answer, "message"); !message.empty()) return message + "\n";
  std::string lines;
  for (const auto& [name, value] : answer.items()) {
    if (name == "v" || name == "ok" || name == "code" || name == "reason" || value.is_null())
      continue;
    const bool nested = value.is_structured();
    lines += fmt::format("{}: {}\n", cli::printable(name), nested ? value.dump() : plain(value));
  }
  return lines;
}

}  // namespace

const Json& member(const Json& object, const std::string& name) {
  static const Json nothing;
  if (!object.is_object()) return nothing;
  const auto found = object.find(name);
  return found == object.end() ? nothing : *found;
}

std::string text(const Json& object, const std::string& name) {
  const Json& value = member(object, name);
  return value.is_boolean() ? "" : plain(value);
}

double number(const Json& object, const std::string& name, double otherwise) {
  const Json& value = member(object, name);
  return value.is_number() ? value.get<double>() : otherwise;
}

std::string time_text(double seconds) {
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  if (seconds < 3600) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 48 * 3600.0) return fmt::format("{:.0f} h", seconds / 3600);
  return fmt::format("{:.0f} d", seconds / 86400);
}

std::string as_text(const Json& answer) {
  if (const Json& reload = member(answer, "reload"); reload.is_object())
    return verdict(reload) + "\n";
  if (member(answer, "state").is_string()) return status_text(answer) + companions_text(answer);
  if (const Json& holders = member(answer, "holders"); holders.is_array())
    return holders_text(holders);
  if (std::string text = companions_text(answer); !text.empty()) return text;
  return any_text(answer);
}

std::string verdict(const Json& reload) {
  std::string line = "reload";
  add(line, " ", text(reload, "number"));
  const std::string what = cell(text(reload, "verdict"));
  line += " " + what;
  if (member(reload, "duration_ms").is_number())
    line += fmt::format(" {} {}", what == "done" ? "in" : "after",
                        time_text(number(reload, "duration_ms") / 1000));
  const auto before = text(reload, "old");
  const auto after = text(reload, "new");
  if (what == "done" && !before.empty() && !after.empty() && before != after)
    line += fmt::format(", {} follows {}", after, before);
  return line;
}

std::string event_text(const Json& event) {
  const std::string kind = cell(text(event, "event"));
  if (kind == "lost") return fmt::format("{} events were lost", cell(text(event, "count")));
  std::string line;
  add(line, "", text(event, "at"));
  add(line, " #", text(event, "seq"));
  line += (line.empty() ? "" : " ") + kind;
  add(line, " ", text(event, "name"));
  add(line, ": ", text(event, "text"));
  return line;
}

}  // namespace drover::ctl
