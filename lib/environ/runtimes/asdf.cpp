// asdf.
#include <fmt/core.h>

#include <vector>

#include "lib/environ/runtimes/runtime.h"
#include "lib/environ/version_file.h"

namespace drover::environ {
namespace {

std::vector<std::string> roots(const Places& places) {
  return roots_from(places, "ASDF_DATA_DIR", {places.home + "/.asdf"});
}

void undo(Edit& edit, const Places& places) {
  const auto folders = roots(places);
  edit.drop_parts("PATH", folders, {"installs/*/*/bin", "installs/*/*/lib/ruby/gems/*/bin"});
  edit.drop_parts("RUBYLIB", [](const std::string& part) {
    return part.ends_with("/plugins/ruby/rubygems-plugin");
  });
  edit.unset({"ASDF_INSTALL_TYPE", "ASDF_INSTALL_VERSION", "ASDF_INSTALL_PATH"});
  std::vector<std::string> selections;  // of `asdf shell`
  for (const auto& [name, value] : edit.block().variables())
    if (name.starts_with("ASDF_") && name.ends_with("_VERSION")) selections.push_back(name);
  for (const auto& name : selections)
    edit.unset(std::string_view(name));
}

const char* plugin_of(Language language) {
  return language == Language::node ? "nodejs" : language == Language::ruby ? "ruby" : "python";
}

}  // namespace

Runtime asdf() {
  return {.name = "asdf",
          .languages = {Language::ruby, Language::python, Language::node},
          .undo = undo,
          .roots = roots,
          .root_variable = "ASDF_DATA_DIR",
          .versions =
              [](const std::string& root, Language language) {
                return fmt::format("{}/installs/{}", root, plugin_of(language));
              },
          .home_default = read_tool_versions_of_home};
}

}  // namespace drover::environ
