#include <fmt/core.h>

#include "tools/ctl_output.h"
#include "tools/table.h"

namespace drover::ctl {
namespace {

std::string cell(const std::string& value) { return value.empty() ? "-" : value; }

std::string status_text(const Json& companions) {
  std::vector<Row> rows = {{"NAME", "STATE", "PID", "DESCRIPTION"}};
  for (const Json& one : companions) {
    std::string description = text(one, "description");
    if (const Json& holders = member(one, "holders"); holders.is_array())
      for (const Json& holder : holders)
        description += (holder == holders.front() ? ", held by " : " ") + holder.dump();
    rows.push_back({cell(text(one, "name")), cell(text(one, "state")), cell(text(one, "pid")),
                    cell(description)});
  }
  return rows.size() > 1 ? align(rows) : "no companions\n";
}

std::string why_text(const Json& companions) {
  std::string lines;
  for (const Json& one : companions) {
    lines += fmt::format("{}: {}\n", text(one, "name"), text(one, "state"));
    if (const Json& reasons = member(one, "reasons"); reasons.is_array())
      for (const Json& reason : reasons)
        lines += fmt::format("  {}\n", text({{"reason", reason}}, "reason"));
  }
  return lines;
}

std::string strays_text(const Json& strays) {
  std::vector<Row> rows = {{"PID", "NAME", "ENDED", "COMMAND"}};
  for (const Json& one : strays)
    rows.push_back({cell(text(one, "pid")), cell(text(one, "name")),
                    member(one, "killed") == true ? "yes" : "no", cell(text(one, "command"))});
  return rows.size() > 1 ? align(rows) : "nobody else keeps the lock\n";
}

std::string plan_text(const Json& plan) {
  std::string lines;
  for (const Json& one : plan) {
    if (text(one, "action") == "none") continue;
    std::string keys;
    if (const Json& list = member(one, "keys"); list.is_array())
      for (const Json& key : list)
        keys += (keys.empty() ? " (" : ", ") + text({{"key", key}}, "key");
    lines += fmt::format("{} {}{}{}\n", text(one, "action"), text(one, "name"), keys,
                         keys.empty() ? "" : ")");
  }
  return lines.empty() ? "nothing changes\n" : lines;
}

}  // namespace

std::string companions_text(const Json& answer) {
  if (const Json& list = member(answer, "companions"); list.is_array()) return status_text(list);
  if (const Json& list = member(answer, "why"); list.is_array()) return why_text(list);
  if (const Json& list = member(answer, "strays"); list.is_array()) return strays_text(list);
  if (const Json& list = member(answer, "plan"); list.is_array()) return plan_text(list);
  return "";
}

}  // namespace drover::ctl
