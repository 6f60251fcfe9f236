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
/// PATH, or what PATH was. Words "+NAME", "-NAME=OLD" and ":PART". Empty when nothing changed. When
/// it would be longer than 120000 bytes the longest old values are left out, and `lost` names them.
std::string make_record(const Block& before, const Block& after, std::vector<std::string>& lost);

/// Words in one variable, and back; blanks and "%" become "%XX".
std::string pack_words(const std::vector<std::string>& words);
std::vector<std::string> unpack_words(std::string_view packed);

/// Takes back what the record in `edit`'s environment says, and removes it. A malformed one, or one
/// longer than that, is a warning, and nothing of it is used.
void revert_record(Edit& edit);

}  // namespace drover::environ
