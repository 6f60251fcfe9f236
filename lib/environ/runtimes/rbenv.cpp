// rbenv, with its gemset plugin.
#include <fmt/core.h>

#include "lib/environ/runtimes/xenv.h"

namespace drover::environ {
namespace {

constexpr xenv::Kind kKind{"rbenv", "RBENV_"};

std::vector<std::string> roots(const Places& places) { return xenv::roots(places, kKind); }

void undo(Edit& edit, const Places& places) {
  xenv::undo(edit, places, kKind);
  edit.drop_parts("RUBYLIB", [](const std::string& part) {
    return part.empty() || part.ends_with("/rbenv.d/exec/gem-rehash");
  });
  // The plugin itself unset what was there before, and its GEM_PATH ends with folders outside of
  // rbenv.
  if (edit.block().has("RBENV_GEMSET_ALREADY")) edit.unset({"GEM_HOME", "GEM_PATH"});
  edit.unset({"RBENV_GEMSET_ALREADY", "RBENV_GEMSET_ROOT", "RBENV_GEMSET_DIR"});
  for (const auto& root : roots(places)) {
    if (is_in(edit.block().value("GEM_HOME"), root)) edit.unset("GEM_HOME");
    edit.drop_parts("GEM_PATH", [&](const std::string& part) { return is_in(part, root); });
  }
}

/// The gemset's folder first, then rbenv's own. A name that starts with a dot is a folder of the
/// project.
void enter(Edit& edit, const Installation& installation) {
  std::vector<std::string> path;
  if (!installation.gemset.empty()) {
    const std::string home =
        installation.gemset.starts_with('/')
            ? installation.gemset
            : fmt::format("{}/gemsets/{}", installation.prefix, installation.gemset);
    edit.set("GEM_HOME", home);
    edit.set("GEM_PATH", fmt::format("{}:{}/gemsets/global", home, installation.prefix));
    path.push_back(home + "/bin");
  }
  path.push_back(installation.prefix + "/bin");
  edit.prepend("PATH", path);
}

}  // namespace

Runtime rbenv() {
  return {.name = "rbenv",
          .languages = {Language::ruby},
          .undo = undo,
          .roots = roots,
          .versions = [](const std::string& root, Language) { return xenv::versions(root); },
          .alias = nullptr,
          .global_file = "version",
          .enter = enter};
}

}  // namespace drover::environ
