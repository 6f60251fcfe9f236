// The family of rbenv, nodenv and pyenv: one program under three names.
#pragma once

#include "lib/environ/runtimes/runtime.h"

namespace drover::environ::xenv {

struct Kind {
  const char* name;      ///< "rbenv"
  const char* variable;  ///< "RBENV_"
};

std::vector<std::string> roots(const Places& places, const Kind& kind);
std::string versions(const std::string& root);
/// Takes back what an `exec` or a shim set. What the user configured stays: the folder of the shims
/// in PATH, and a root that is not the default one.
void undo(Edit& edit, const Places& places, const Kind& kind);

}  // namespace drover::environ::xenv
