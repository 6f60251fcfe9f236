#include <nlohmann/json.hpp>

#include "lib/herd/roles.h"
#include "lib/os/users.h"
#include "tools/ls_output.h"

namespace drover::ls {
namespace {

using Json = nlohmann::ordered_json;
using flock::LockMode;
using flock::Opener;

const char* mode_text(const std::optional<LockMode>& mode) {
  if (!mode) return "none";
  return *mode == LockMode::shared ? "shared" : "exclusive";
}

Json as_json(const Opener& opener) {
  Json fds = Json::array();
  for (const auto& held : opener.fds)
    fds.push_back({{"fd", held.fd}, {"mode", mode_text(held.mode)}});
  return {{"pid", opener.pid},
          {"ppid", opener.parent},
          {"uid", opener.uid},
          {"user", os::user_name(opener.uid)},
          {"age_s", opener.age_s},
          {"fds", fds},
          {"cgroup", opener.cgroup},
          {"unit", opener.unit},
          {"cwd_deleted", opener.folder_deleted},
          {"exe_deleted", opener.executable_deleted},
          {"command", opener.command}};
}

Json as_json(const std::vector<Opener>& openers) {
  Json list = Json::array();
  for (const auto& opener : openers)
    list.push_back(as_json(opener));
  return list;
}

Json as_json(const flock::LockReport& report, const Style& style) {
  std::vector<const Opener*> holders;
  for (const auto& description : report.descriptions)
    for (const auto& holder : description.holders)
      holders.push_back(&holder);
  auto roles = herd::roles_of(holders);

  Json descriptions = Json::array();
  for (const auto& description : report.descriptions) {
    Json list = Json::array();
    for (const auto& holder : description.holders) {
      Json object = as_json(holder);
      object["role"] = to_string(roles[holder.pid]);
      object["took_lock"] = holder.pid == description.taker;
      list.push_back(std::move(object));
    }
    descriptions.push_back({{"mode", mode_text(description.mode)},
                            {"taker", description.taker},
                            {"taker_alive", description.taker_alive},
                            {"holders", std::move(list)}});
  }
  Json lock = {{"path", report.path},
               {"held", report.held},
               {"visible", !report.descriptions.empty()},
               {"generation", report.generation},
               {"uninspected", report.uninspected},
               {"descriptions", std::move(descriptions)},
               {"stale", report.stale}};
  if (style.open) lock["open"] = as_json(report.open);
  if (style.waiters) lock["waiting"] = as_json(report.waiting);
  return lock;
}

}  // namespace

std::string as_json(const std::vector<flock::LockReport>& reports, const Style& style) {
  Json locks = Json::array();
  for (const auto& report : reports)
    locks.push_back(as_json(report, style));
  const Json object = {{"v", 1}, {"locks", std::move(locks)}};
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace drover::ls
