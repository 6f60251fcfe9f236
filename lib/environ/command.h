// Which program a command's name means, and how a ruby script is started.
#pragma once

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
/// The program in that line, without what follows it.
std::string interpreter_of_script(const std::string& path);
/// Whether it looks like something that the kernel runs: a binary, or a script with its first line.
bool has_format(const std::string& path);
/// The name of who runs a script, behind env(1) and its options; empty when it is none.
std::string interpreter_word(const std::string& path);
/// Whether its interpreter, or what env(1) finds for it, is a ruby.
bool is_ruby_script(const std::string& path);

/// The words behind "ruby [-rbundler/setup]" that load a script into that ruby: the program `name`
/// of a gem in the bundle, else the file `script`. $0 becomes `title`, or the script's name.
std::vector<std::string> loading_words(const std::string& title, const std::string& name,
                                       const std::string& script);
/// Ruby code that succeeds when that would find a script: with the name and the file as arguments.
extern const char* const kFind;

}  // namespace drover::environ
