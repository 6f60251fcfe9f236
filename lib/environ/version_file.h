// Which version a project asks for: .ruby-version, .tool-versions and the like. What they hold is
// data of unknown origin: it can select among what is installed, and nothing else.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {

/// What somebody asks for.
struct Wanted {
  std::vector<std::string> versions;  ///< in order of preference; "system" is one
  /// Names, or folders of the project: the one for new gems first. Perhaps kWithoutGlobal, last.
  std::vector<std::string> gemsets;
  std::string origin;  ///< "FILE:LINE", or the key of the wrapper
};

/// Looks in `folder` and each folder above it for a file that names a version of the language; the
/// nearest folder counts, and in it the first of the language's own file (.ruby-version,
/// .python-version, .node-version, .nvmrc), mise's, .tool-versions, and for ruby .versions.conf and
/// a literal `ruby "3.2"` in the Gemfile. Empty when there is none. Throws Error (EBADMSG), naming
/// file and line, for one that is there and does not name a version: no further file is asked then.
std::optional<Wanted> find_version_file(Language language, const std::string& folder);

/// asdf's own default: .tool-versions in the home folder. Empty when there is none. Throws Error as
/// above.
std::optional<Wanted> read_tool_versions_of_home(Language language, const std::string& home);

/// Reads the manager's own default (rbenv's "version" file). Empty when there is none. Throws Error
/// as above.
std::optional<Wanted> read_global_file(const std::string& path, Language language);

}  // namespace drover::environ
