// What drover-exec shows of a plan.
#pragma once

#include <string>

#include "lib/environ/import.h"
#include "lib/environ/plan.h"

namespace drover::exec {

struct Style {
  bool json = false;
  bool secrets = false;  ///< show the values of variables that look like secrets
};

/// One line for each decision, with the rule or the file and line behind it; then what would be
/// executed.
std::string explain(const environ::Plan& plan, const Style& style);

/// What differs between two environments, but for what is another at each exec. Empty when nothing
/// does.
std::string diff(const environ::Block& before, const environ::Block& after, const Style& style);

/// One decision on one line.
std::string line_of(const environ::Step& step, const Style& style);

/// What a script means, as TOML for a wrapper, with comments on what is not in it.
std::string as_toml(const environ::Import& import);

/// Whether TOML and JSON can hold it.
bool is_utf8(const std::string& text);

/// The value, or "<masked, N bytes>" for what by its name, or as an address with a password in it,
/// is probably a secret.
std::string shown(const std::string& name, const std::string& value, const Style& style);

}  // namespace drover::exec
