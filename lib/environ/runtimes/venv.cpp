// Python's virtual environments: venv, virtualenv, and what uv and poetry make.
#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {
namespace {

void undo(Edit& edit, const Places&) {
  const std::string home = edit.block().value("VIRTUAL_ENV");
  if (!home.empty()) {
    edit.drop_parts("PATH", {home}, {"bin"});
    edit.drop_parts("PKG_CONFIG_PATH", {home}, {"lib/pkgconfig"});
    edit.unset({"TCL_LIBRARY", "TK_LIBRARY"});
  }
  edit.unset({"VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__"});
}

void enter(Edit& edit, const Installation& installation) {
  // For what the program starts: the interpreter itself needs neither.
  edit.set("VIRTUAL_ENV", installation.prefix);
  edit.prepend("PATH", {installation.prefix + "/bin"});
}

}  // namespace

Runtime venv() {
  return {.name = "venv", .languages = {Language::python}, .undo = undo, .enter = enter};
}

}  // namespace drover::environ
