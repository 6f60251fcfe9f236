// How companions are shown: lib/control/protocol.h, drover-control(7).
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "lib/companions/manager.h"
#include "lib/control/protocol.h"

namespace drover::companions {

/// Who holds the locks of those that wait for them, by the companion's name.
using Holders = std::map<std::string, std::vector<pid_t>>;
/// One pass over /proc for all of them; none when nobody waits.
Holders holders_of_waited(const Manager::List& companions);

/// An entry of "status": a superset of that of gunicorn's companion manager.
control::Json entry_of(const Companion& companion, const Manager& manager, const Holders& holders);
/// "running, pid 12, uptime 0:01:02"
std::string description_of(const Companion& companion);

/// Why it is in its state, in words; each a sentence.
std::vector<std::string> reasons_of(const Companion& companion, const Manager& manager);

control::Json to_json(const std::vector<Change>& changes);

}  // namespace drover::companions
