#include "lib/environ/import.h"

#include <algorithm>

#include "lib/environ/reset.h"

namespace drover::environ {
namespace {

Block cleaned(Block block, const Places& places) {
  Steps steps;
  Edit edit(block, steps);
  const Places here{places.home, places.app, block};
  reset(edit, here);
  for (const Runtime& runtime : runtimes())
    edit.drop_parts("PATH", runtime.roots(here), kShims);
  edit.unset("BUNDLE_GEMFILE");
  return block;
}

}  // namespace

Import import_script(const std::string& script, const std::string& folder, const Places& places,
                     std::chrono::milliseconds limit) {
  const Block before = cleaned(places.inherited, places);
  Captured captured = capture(script, folder, before, limit, Until::exec);
  Block after = before;
  for (const auto& [name, value] : captured.set)
    after.set(name, value);
  for (const auto& name : captured.unset)
    after.unset(name);
  after = cleaned(std::move(after), places);

  Import import;
  for (const auto& [name, value] : captured.set)
    if (const std::string* kept = after.find(name); name == "PATH") {
      continue;
    } else if (kept != nullptr && *kept == value) {
      import.set.push_back({name, value});
    } else {
      import.left_out.push_back(name);
    }
  for (const auto& name : captured.unset)
    if (before.has(name)) import.unset.push_back(name);
  const auto old_parts = split_list(before.value("PATH"));
  auto* parts = &import.path_front;
  for (const auto& part : split_list(after.value("PATH"))) {
    const auto old = std::find(old_parts.begin(), old_parts.end(), part);
    if (old == old_parts.end()) parts->push_back(part);
    if (!old_parts.empty() && part == old_parts.back()) parts = &import.path_back;
  }
  import.command = std::move(captured.command);
  import.umask_changed = captured.umask_changed;
  import.folder_changed = captured.folder_changed;
  return import;
}

}  // namespace drover::environ
