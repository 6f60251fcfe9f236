// Files with variables: data, never code. Nothing in them is expanded, and nothing executed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/environ/block.h"

namespace drover::environ {

struct EnvLine {
  std::string name;
  std::string value;
  size_t line;  ///< where it begins
  friend bool operator==(const EnvLine&, const EnvLine&) = default;
};

/// Variables of one file, in its order.
///
/// A line is "NAME=VALUE", perhaps after "export "; NAME has letters, digits and "_". A value
/// without quotes ends with the line, or at " #"; one in single quotes is literal; in double quotes
/// \n \t \r \\ \" and \$ are escapes; only in quotes may it go on over several lines. "$" has no
/// meaning. Empty lines, lines with "#", CR before the newline and a byte order mark are fine.
/// Throws Error (EBADMSG) with FILE:LINE for anything else: an unterminated quote, a NUL, a name
/// that stands twice with two values.
std::vector<EnvLine> parse_env_file(std::string_view text, const std::string& path);

using FileReader = std::function<std::string(const std::string& path)>;

/// A folder in which each file is a variable, as envdir(8) reads it: its first line, without blanks
/// at the end, NUL taken for a newline. An empty file means that the variable is to be unset: it
/// is in `unset`. Names with "=" or a leading dot are left out. `read` reads one of the files.
/// Throws Error.
struct EnvDir {
  std::vector<Variable> variables;
  std::vector<std::string> unset;
};
EnvDir read_env_dir(const std::string& path, const FileReader& read);

/// Whether a variable of this name changes what a program executes or loads: LD_PRELOAD, BASH_ENV,
/// RUBYOPT and the like. The wrapper itself may set them, a file beside it only when it is allowed.
bool is_dangerous(std::string_view name);

}  // namespace drover::environ
