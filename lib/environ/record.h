// What drover-exec itself changed, remembered in the environment that it hands on, so that the next
// generation can take it back exactly: a variable that was removed from an env file since would
// otherwise live on through every hot reload.
#pragma once

#include <string>
#include <vector>

#include "lib/environ/block.h"
#include "lib/environ/edit.h"

namespace drover::environ {

/// The variable that carries the record.
inline constexpr const char* kRecordName = "DROVER_STATE";

/// Describes how `after` came from `before`: the names of new variables (never their values: no
/// second copy of a secret), the old values of changed and removed ones, and what was put into
/// PATH. One line of words, "+NAME", "-NAME=OLD" and ":PART", with blanks, "%" and control
/// characters as
/// "%XX". Empty when nothing changed.
std::string make_record(const Block& before, const Block& after);

/// Takes back what the record in `edit`'s environment says, and removes it. A malformed one, or one
/// above 64 KiB, is a warning, and nothing of it is used.
void revert_record(Edit& edit);

}  // namespace drover::environ
