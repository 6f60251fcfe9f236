#include "lib/herd/roles.h"

#include <algorithm>
#include <array>

#include "lib/flock/guard.h"

namespace drover::herd {
namespace {

Role role_by_title(std::string_view title) {
  // The program's own path and arguments do not count: "gunicorn worker_app:main" is no worker.
  constexpr std::array kMaster = {"unicorn master",   "unicorn_rails master", "nginx: master",
                                  "gunicorn: master", "php-fpm: master",      "prefork master"};
  constexpr std::array kWorker = {
      "unicorn worker", "unicorn_rails worker", "nginx: worker", "gunicorn: worker",
      "php-fpm: pool",  "puma: cluster worker", "nginx: cache",  "prefork worker"};
  const auto starts = [title](const char* start) { return title.starts_with(start); };
  if (std::any_of(kWorker.begin(), kWorker.end(), starts)) return Role::worker;
  if (std::any_of(kMaster.begin(), kMaster.end(), starts))
    return title.find(" (old)") == std::string_view::npos ? Role::master : Role::old_master;
  return Role::unknown;
}

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case Role::master:
      return "master";
    case Role::old_master:
      return "old master";
    case Role::worker:
      return "worker";
    case Role::guard:
      return "guard";
    case Role::unknown:
      return "-";
  }
  return "-";
}

std::map<pid_t, Role> roles_of(const std::vector<const flock::Opener*>& holders) {
  std::map<pid_t, pid_t> parents;
  std::map<pid_t, int> children;
  const auto is_guard = [](const auto* holder) { return holder->name == flock::kGuardName; };
  for (const auto* holder : holders)
    if (!is_guard(holder)) parents[holder->pid] = holder->parent;
  for (const auto& [pid, parent] : parents)
    if (parents.contains(parent)) ++children[parent];

  std::map<pid_t, Role> roles;
  for (const auto* holder : holders) {
    Role role = is_guard(holder) ? Role::guard : role_by_title(holder->command);
    if (role == Role::unknown) {
      const bool has_children = children.contains(holder->pid);
      if (parents.contains(holder->parent)) {
        role = has_children ? Role::master : Role::worker;
      } else if (has_children) {
        role = Role::master;
      }
    }
    roles[holder->pid] = role;
  }
  for (const auto* holder : holders) {
    const auto above = roles.find(holder->parent);
    if (roles[holder->pid] == Role::master && above != roles.end() && above->second == Role::master)
      above->second = Role::old_master;
  }
  return roles;
}

}  // namespace drover::herd
