// Which interpreter a process gets. One algorithm for all managers, and fail closed: a version that
// is not installed is an error, never the system's own one.
#pragma once

#include <optional>
#include <string>

#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {

struct Choice {
  enum class Kind {
    none,       ///< the language is not used
    system,     ///< whatever PATH has
    installed,  ///< a version, or an environment, of a manager
    prefix,     ///< a folder that the wrapper names
  };
  Kind kind = Kind::none;
  const Runtime* runtime = nullptr;  ///< for `installed`
  Installation installation;         ///< for `installed` and `prefix`
  std::string origin;                ///< the "FILE:LINE" or the key that asked for it
};

/// What `spec` means: "auto" (the project's version file, then a manager's own default; for python
/// first a virtual environment in .venv or venv), "3.2", "3.2@gemset", "rbenv:3.2.2", "venv:PATH",
/// "conda:PATH", "/a/prefix", "system" or "none"; "detect" is "auto" where the project
/// asks for a version, else "none". Relative paths are below the application.
/// `origin` is where it was said. A version is looked for in all managers, or in the one that is
/// named: first for exactly this one (or an alias), then for the best that begins with it; the
/// order of runtimes() decides. Throws Error: EBADMSG for a malformed spec or version file, ENOPKG
/// when it is not installed, with a list of what is.
Choice choose(Language language, const std::string& spec, const std::string& origin,
              const Places& places);

/// The interpreter's program in an installation: "ruby", "python3", "node".
std::string interpreter_of(Language language, const std::string& prefix);

/// Gives the environment what the chosen one needs, and its bin folder in front of PATH.
void enter(Edit& edit, const Choice& choice);

}  // namespace drover::environ
