// The variables that a wrapper asks for.
#pragma once

#include "lib/environ/edit.h"
#include "lib/environ/trust.h"
#include "lib/environ/wrapper_file.h"

namespace drover::environ {

/// Adds, in this order: what its scripts change, its env folders and env files, the names to unset,
/// [env] and [secret]. Blocks while a script runs. Throws Error.
void add_variables(const Wrapper& wrapper, Edit& edit, Trust& trust);

/// Adds [path] to PATH. Throws Error.
void add_folders(const Wrapper& wrapper, Edit& edit, Trust& trust);

}  // namespace drover::environ
