// Which program a command's name means, and how a ruby script is started.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/os/fd.h"

namespace drover::environ {

/// Looks the name up in `path` (not in this process's own PATH), or below `folder` when it has a
/// slash. Files among `not_these` are passed over: a wrapper that is called as the command it
/// starts would start itself for ever. Throws ExecError: ENOENT, or EACCES when there is one that
/// cannot be executed.
std::string find_program(const std::string& name, std::string_view path, const std::string& folder,
                         const std::vector<os::FileId>& not_these);

/// The interpreter line of a script, without "#!"; empty for another kind of file.
std::string interpreter_line(const std::string& path);

struct RubyCall {
  std::string ruby;      ///< the interpreter
  bool bundler = false;  ///< with -rbundler/setup
  std::string title;     ///< what $0 is to be: what unicorn executes at its next reload
  std::string name;      ///< the command, as a gem calls it
  std::string script;    ///< where PATH has it; empty: only the bundle has it
};
/// The words that start it in one ruby: the bundle's own program of this name, else `script`.
std::vector<std::string> words_of(const RubyCall& call);

}  // namespace drover::environ
