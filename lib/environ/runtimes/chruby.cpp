// chruby, ruby-install and plain folders of rubies: /opt/rubies, ~/.rubies.
#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {
namespace {

std::vector<std::string> roots(const Places& places) {
  std::vector<std::string> folders = {"/opt/rubies", "/usr/local/opt/rubies"};
  if (!places.home.empty()) folders.insert(folders.begin(), places.home + "/.rubies");
  return folders;
}

/// chruby_reset(1)'s work, and what can be told by the layout when RUBY_ROOT was lost (sudo, cron).
void undo(Edit& edit, const Places& places) {
  const Block& block = edit.block();
  const bool active = block.has("RUBY_ROOT");
  std::vector<std::string> homes;  // of gems
  for (const char* name : {"GEM_HOME", "GEM_ROOT", "RUBY_ROOT"})
    if (active && block.has(name)) homes.push_back(normal_path(block.value(name)));
  edit.drop_parts("PATH", homes, {"bin"});
  edit.drop_parts("PATH", roots(places), {"*/bin", "*/lib/ruby/gems/*/bin"});
  edit.drop_parts("GEM_PATH", roots(places), {"*/lib/ruby/gems/*"});
  if (!places.home.empty()) {
    const std::string gems = places.home + "/.gem";
    edit.drop_parts("PATH", {gems}, {"*/[0-9]*/bin"});
    edit.drop_parts("GEM_PATH", {gems}, {"*/[0-9]*"});
    if (is_below(block.value("GEM_HOME"), gems, "*/[0-9]*")) edit.unset("GEM_HOME");
  }
  if (!active) return;
  for (const auto& home : homes)
    edit.drop_parts("GEM_PATH", [&](const std::string& part) { return normal_path(part) == home; });
  // Its RUBYOPT is the one that chruby was given; the one before is lost.
  edit.unset({"RUBY_ROOT", "RUBY_ENGINE", "RUBY_VERSION", "RUBYOPT", "GEM_ROOT"});
}

}  // namespace

Runtime chruby() {
  return {.name = "chruby",
          .languages = {Language::ruby},
          .undo = undo,
          .roots = roots,
          .versions = [](const std::string& root, Language) { return root; }};
}

}  // namespace drover::environ
