// Version names: which installed one a wanted one means.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::environ {

/// Whether a text from a version file may be looked up as a version: letters, digits and "._+:@-",
/// the first one a letter or a digit. So it is no path, no option, no pattern and no command.
bool is_version_name(std::string_view text);

/// nvm's names for the long-term releases: "lts/*", "lts/hydrogen".
bool is_lts_name(std::string_view text);

/// pyenv's name for a virtual environment: "3.11.4/envs/app".
bool is_environment_of_pyenv(std::string_view text);

/// The same for the name of a gemset, which becomes a part of folders in PATH.
bool is_gemset_name(std::string_view text);

/// Whether the installed one is exactly the wanted one: "ruby-3.1.2", "v18.1.0", "python-3.11.2"
/// are the same as without the word in front.
bool is_same_version(std::string_view wanted, std::string_view installed);

/// The newest one, a release rather than a preview. Empty when there is none.
std::optional<std::string> highest(const std::vector<std::string>& installed);

/// The best of the installed ones that the wanted one means: itself, else the numerically highest
/// of which it is the beginning in whole components ("3.1" means 3.1.10 rather than 3.1.2, and
/// never 3.10.0), a release rather than a preview. Empty when there is none.
std::optional<std::string> best_match(std::string_view wanted,
                                      const std::vector<std::string>& installed);

}  // namespace drover::environ
