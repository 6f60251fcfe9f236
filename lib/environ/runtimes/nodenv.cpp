// nodenv: rbenv's code for node.
#include "lib/environ/runtimes/xenv.h"

namespace drover::environ {
namespace {

constexpr xenv::Kind kKind{"nodenv", "NODENV_"};

}  // namespace

Runtime nodenv() {
  return {.name = "nodenv",
          .languages = {Language::node},
          .undo = [](Edit& edit, const Places& places) { xenv::undo(edit, places, kKind); },
          .roots = [](const Places& places) { return xenv::roots(places, kKind); },
          .root_variable = "NODENV_ROOT",
          .versions = [](const std::string& root, Language) { return xenv::versions(root); },
          .alias = nullptr,
          .global_file = "version",
          .enter = nullptr};
}

}  // namespace drover::environ
