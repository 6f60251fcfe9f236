#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "lib/herd/roles.h"
#include "lib/os/users.h"
#include "tools/ls_output.h"
#include "tools/table.h"

namespace drover::ls {
namespace {

using flock::LockMode;
using flock::LockReport;
using flock::Opener;

std::string age_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.0f}s", seconds);
  if (seconds < 3600) return fmt::format("{:.0f}m", seconds / 60);
  if (seconds < 48 * 3600.0) return fmt::format("{:.0f}h", seconds / 3600);
  return fmt::format("{:.0f}d", seconds / 86400);
}

std::string fd_text(const Opener& opener) {
  std::string text;
  for (const auto& held : opener.fds) {
    text += fmt::format("{}{}{}", text.empty() ? "" : ",", held.fd,
                        held.mode == LockMode::exclusive ? "x" : "");
  }
  return text;
}

/// Control characters of a title must not reach the terminal.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return text;
}

class Table {
 public:
  Table(const LockReport& report, bool tree) : report_(report), tree_(tree) {
    std::vector<const Opener*> holders;
    for (const auto& description : report.descriptions)
      for (const auto& holder : description.holders)
        holders.push_back(&holder);
    roles_ = herd::roles_of(holders);
  }

  std::string text() {
    rows_ = {{"PID", "PPID", "USER", "AGE", "FD", "TOOK", "ROLE", "UNIT", "COMMAND"}};
    for (const auto& description : report_.descriptions) {
      std::set<pid_t> here;
      for (const auto& holder : description.holders)
        here.insert(holder.pid);
      for (const auto& holder : description.holders) {
        if (!tree_) {
          add(description, holder, 0);
        } else if (!here.contains(holder.parent)) {
          add_branch(description, holder, 0);
        }
      }
      for (const auto& holder : description.holders)  // whose parents changed during the look
        if (tree_) add_branch(description, holder, 0);
    }
    return align(rows_);
  }

 private:
  void add_branch(const flock::Description& description, const Opener& holder, size_t depth) {
    if (!shown_.insert(&holder).second) return;
    add(description, holder, depth);
    for (const auto& child : description.holders)
      if (child.parent == holder.pid) add_branch(description, child, depth + 1);
  }

  void add(const flock::Description& description, const Opener& holder, size_t depth) {
    const std::string indent = depth == 0 ? "" : fmt::format("{:{}}\\_ ", "", 2 * (depth - 1));
    rows_.push_back(
        {std::to_string(holder.pid), std::to_string(holder.parent), os::user_name(holder.uid),
         age_text(holder.age_s), fd_text(holder), holder.pid == description.taker ? "*" : "",
         std::string(to_string(roles_[holder.pid])),
         holder.unit.empty() ? "-" : printable(holder.unit), indent + printable(holder.command)});
  }

  const LockReport& report_;
  bool tree_;
  std::set<const Opener*> shown_;
  std::map<pid_t, herd::Role> roles_;
  std::vector<Row> rows_;
};

std::string plural(size_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string head_line(const LockReport& report) {
  std::string text = printable(report.path) + ": ";
  if (!report.held) {
    text += "free";
  } else if (report.descriptions.empty()) {
    text += "held, holder not visible";
  } else {
    const bool exclusive = report.descriptions.front().mode == LockMode::exclusive;
    text += fmt::format("held {} by {}", exclusive ? "exclusively" : "shared",
                        plural(report.holder_count(), "process", "processes"));
    if (report.descriptions.size() > 1)
      text += fmt::format(", taken {} times", report.descriptions.size());
  }
  if (report.generation > 0) text += fmt::format(", generation {}", report.generation);
  return text + "\n";
}

std::string notes(const LockReport& report) {
  std::string text;
  for (const auto& description : report.descriptions) {
    for (const auto& holder : description.holders) {
      if (holder.folder_deleted)
        text += fmt::format("note: {}: its working directory was deleted\n", holder.pid);
      if (holder.executable_deleted)
        text += fmt::format("note: {}: its executable was replaced or deleted\n", holder.pid);
    }
  }
  for (const pid_t pid : report.stale)
    text += fmt::format("note: {}: has a lock file open that was deleted from this path\n", pid);
  if (report.held && report.descriptions.empty())
    text += fmt::format("note: {} could not be inspected\n",
                        plural(report.uninspected, "process", "processes"));
  return text;
}

std::string others(const char* what, const std::vector<Opener>& openers) {
  std::string text;
  for (const auto& opener : openers)
    text += fmt::format("{}: {} {} {}\n", what, opener.pid, os::user_name(opener.uid),
                        printable(opener.command));
  return text;
}

}  // namespace

std::string as_text(const std::vector<LockReport>& reports, const Style& style) {
  std::string text;
  for (const auto& report : reports) {
    if (!text.empty()) text += "\n";
    text += head_line(report);
    if (!report.descriptions.empty()) text += Table(report, style.tree).text();
    if (style.waiters) text += others("waiting", report.waiting);
    if (style.open) text += others("open", report.open);
    text += notes(report);
  }
  return text;
}

}  // namespace drover::ls
