// mise: what its layout tells. What `mise activate` recorded is taken back before
// (lib/environ/recorded_diff.h).
#include <fmt/core.h>

#include "lib/environ/mise_config.h"
#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {
namespace {

std::vector<std::string> roots(const Places& places) {
  const std::string data = places.inherited.value("XDG_DATA_HOME");
  std::vector<std::string> folders = {places.home + "/.local/share/mise"};
  if (data.starts_with('/')) folders.insert(folders.begin(), data + "/mise");
  return roots_from(places, "MISE_DATA_DIR", folders);
}

void undo(Edit& edit, const Places& places) {
  edit.drop_parts("PATH", roots(places), {"installs/*/*/bin"});
}

}  // namespace

Runtime mise() {
  return {.name = "mise",
          .languages = {Language::ruby, Language::python, Language::node},
          .undo = undo,
          .roots = roots,
          .root_variable = "MISE_DATA_DIR",
          .versions =
              [](const std::string& root, Language language) {
                return fmt::format("{}/installs/{}", root, to_string(language));
              },
          .home_default =
              [](Language language, const std::string& home) {
                return home.empty() ? std::nullopt : read_mise_config(language, home);
              }};
}

}  // namespace drover::environ
