// The part of mise's configuration that says which version a project uses.
#pragma once

#include <optional>
#include <string>

#include "lib/environ/version_file.h"

namespace drover::environ {

/// The `[tools]` entry for the language in the configuration files of one folder, the one that mise
/// lets win: `ruby = "3.2"` or a list of such. Empty when there is none. Throws Error (EBADMSG) for
/// a file that is no TOML, and for an entry of another form.
std::optional<Wanted> read_mise_config(Language language, const std::string& folder);

}  // namespace drover::environ
