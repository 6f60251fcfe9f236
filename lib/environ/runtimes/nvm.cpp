// nvm.
#include "lib/environ/runtimes/runtime.h"
#include "lib/environ/small_file.h"
#include "lib/environ/version.h"

namespace drover::environ {
namespace {

std::vector<std::string> roots(const Places& places) {
  return roots_from(places, "NVM_DIR", {places.home + "/.nvm"});
}

void undo(Edit& edit, const Places& places) {
  const auto folders = roots(places);
  edit.drop_parts("PATH", folders, {"versions/node/*/bin"});
  edit.drop_parts("MANPATH", folders, {"versions/node/*/share/man"});
  edit.drop_parts("NODE_PATH", folders, {"versions/node/*/lib/node_modules"});
  edit.unset({"NVM_BIN", "NVM_INC", "NVM_CD_FLAGS"});  // NVM_DIR is the user's
}

/// NVM_DIR/alias/NAME, a file with one word; "lts/hydrogen" is such a name. "node" and "stable"
/// mean the newest without one.
std::optional<std::string> alias(const std::string& root, std::string_view name) {
  const auto file = read_small_file(root + "/alias/" + std::string(name), 1024);
  if (!file && (name == "node" || name == "stable"))
    return highest(names_in(root + "/versions/node"));
  if (!file) return std::nullopt;
  return std::string(first_word(*file));
}

}  // namespace

Runtime nvm() {
  return {.name = "nvm",
          .languages = {Language::node},
          .undo = undo,
          .roots = roots,
          .root_variable = "NVM_DIR",
          .versions = [](const std::string& root, Language) { return root + "/versions/node"; },
          .alias = alias,
          .global_file = "alias/default",
          .enter = nullptr};
}

}  // namespace drover::environ
