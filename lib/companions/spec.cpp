#include "lib/companions/spec.h"

namespace drover::companions {

bool applies_live(const std::string& key) {
  static const std::set<std::string> live = {
      "description",    "autostart",    "restart",           "exit_codes",
      "restart_delay",  "max_restarts", "restart_max_delay", "restart_factor",
      "restart_jitter", "reset_after",  "startsecs",         "start_timeout",
      "stop_signal",    "stop_timeout", "reload_timeout",    "lock_timeout",
      "needs",          "cron",         "numprocs",
  };
  return live.contains(key);
}

std::vector<std::string> differing_keys(const Spec& one, const Spec& other) {
  std::set<std::string> keys;
  const auto compare = [&keys](const Spec& from, const Spec& to) {
    for (const auto& [key, value] : from.given) {
      const auto there = to.given.find(key);
      if (there == to.given.end() || there->second != value) keys.insert(key);
    }
  };
  compare(one, other);
  compare(other, one);
  if (one.lock != other.lock) keys.insert("lock");
  return {keys.begin(), keys.end()};
}

}  // namespace drover::companions
