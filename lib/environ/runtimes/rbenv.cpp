// rbenv, with its gemset plugin.
#include <algorithm>

#include "lib/environ/runtimes/xenv.h"
#include "lib/environ/small_file.h"

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

/// The ruby's own folder of gems: lib/ruby/gems/3.1.0.
std::optional<std::string> own_gems(const std::string& prefix) {
  const std::string folder = prefix + "/lib/ruby/gems";
  const auto names = names_in(folder);
  if (names.size() != 1) return std::nullopt;
  return folder + "/" + names[0];
}

/// The gemsets' folders in their order, the global one last, then the ruby's own.
void enter(Edit& edit, const Installation& installation) {
  std::vector<std::string> homes;
  std::vector<std::string> names = installation.gemsets;
  if (!names.empty() && names.back() == kWithoutGlobal) {
    names.pop_back();
  } else if (!names.empty() && std::find(names.begin(), names.end(), "global") == names.end()) {
    names.emplace_back("global");
  }
  std::vector<std::string> path;
  for (const auto& name : names) {
    homes.push_back(name.starts_with('/') ? name : installation.prefix + "/gemsets/" + name);
    path.push_back(homes.back() + "/bin");
  }
  if (!homes.empty()) {
    if (const auto own = own_gems(installation.prefix)) homes.push_back(*own);
    edit.set("GEM_HOME", homes[0]);
    edit.set("GEM_PATH", join_list(homes));
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
          .root_variable = "RBENV_ROOT",
          .versions = [](const std::string& root, Language) { return xenv::versions(root); },
          .alias = nullptr,
          .global_file = "version",
          .enter = enter};
}

}  // namespace drover::environ
