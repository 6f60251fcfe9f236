// What a process is in its server, as far as can be told from outside.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/flock/inspect.h"

namespace drover::herd {

enum class Role { unknown, master, old_master, worker, guard };
std::string_view to_string(Role role);

/// The roles of the holders of one lock. Titles decide where a server sets them (unicorn, nginx,
/// puma, php-fpm, gunicorn with setproctitle); else the tree does: who has no holder above is the
/// master, its children are workers, and a child with children of its own is the master of a hot
/// reload, which makes its parent the old one. A guard (drover-hold --guard) is above all of them.
std::map<pid_t, Role> roles_of(const std::vector<const flock::Opener*>& holders);

}  // namespace drover::herd
