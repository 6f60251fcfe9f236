// pyenv, with its virtualenv plugin.
#include "lib/environ/runtimes/xenv.h"

namespace drover::environ {
namespace {

constexpr xenv::Kind kKind{"pyenv", "PYENV_"};

void undo(Edit& edit, const Places& places) {
  xenv::undo(edit, places, kKind);
  edit.unset({"PYENV_VIRTUAL_ENV", "PYENV_ACTIVATE_SHELL", "_PYENV_INSTALL_PREFIX"});
  edit.unset_with_prefix("_PYENV_SHIM_PATHS_");
}

}  // namespace

Runtime pyenv() {
  return {.name = "pyenv",
          .languages = {Language::python},
          .undo = undo,
          .roots = [](const Places& places) { return xenv::roots(places, kKind); },
          .root_variable = "PYENV_ROOT",
          .versions = [](const std::string& root, Language) { return xenv::versions(root); },
          .alias = nullptr,
          .global_file = "version",
          .enter = nullptr};
}

}  // namespace drover::environ
