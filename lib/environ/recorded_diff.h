// Changes that other tools recorded in the environment: direnv in DIRENV_DIFF, mise in __MISE_DIFF.
#pragma once

#include "lib/environ/edit.h"

namespace drover::environ {

/// Takes back what direnv did: DIRENV_DIFF is base64url(zlib(JSON {"p": before, "n": after})). Then
/// removes DIRENV_*. What cannot be read (64 KiB at most, 4 MiB when inflated) is a warning.
void revert_direnv(Edit& edit);

/// Takes back what `mise activate` did: __MISE_DIFF is base64(zlib(MessagePack {"old", "new",
/// "path"})). Then removes mise's state. What cannot be read is a warning.
void revert_mise(Edit& edit);

}  // namespace drover::environ
