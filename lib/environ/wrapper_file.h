// The wrapper: a small TOML file that says in which environment a command runs. It is trusted as
// code is: who may write it decides what runs (lib/environ/trust.h).
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/environ/block.h"

namespace drover::environ {

struct Setting {
  std::string value;
  std::string origin;  ///< "FILE:LINE", or the option that said it
};

enum class Clean {
  reset,   ///< take back what others left (lib/environ/reset.h)
  strict,  ///< start from an allow-list
};
enum class Bundle {
  automatic,  ///< setup when the application has a Gemfile
  setup,      ///< ruby -rbundler/setup: one start of ruby
  exec,       ///< bundle exec: two
  none,
};

struct Wrapper {
  std::string path;  ///< absolute, links unresolved; empty in prefix mode
  std::string app;   ///< the application's folder, absolute, links unresolved
  Setting ruby, python, node;
  std::string gem_home;  ///< a folder, or "chruby" for ~/.gem/ENGINE/VERSION; empty: not touched
  Bundle bundle = Bundle::automatic;
  std::string gemfile;  ///< absolute; "keep" for what is inherited; empty: APP/Gemfile or gems.rb
  std::vector<std::string> command;
  bool ruby_follows = false;  ///< the file goes on as a ruby script: that is the command
  Clean clean = Clean::reset;
  std::vector<std::string> pass;   ///< names that `strict` keeps
  std::vector<std::string> unset;  ///< names
  std::vector<std::string> allow;  ///< dangerous names that env_file and env_dir may set
  std::vector<Variable> env;
  std::vector<std::string> env_files;
  std::vector<std::string> env_dirs;
  std::map<std::string, std::string> secrets;  ///< NAME: a file; NAME_FILE gets its path
  std::vector<std::string> path_front, path_back;
  std::vector<std::string> scripts;  ///< to source, in this order
  std::string folder;                ///< to change to; "keep" to stay
  std::optional<mode_t> umask;
  std::string lock;                            ///< absolute; empty for none
  bool insecure_paths = false;                 ///< of everything but the wrapper itself
  std::map<std::string, std::string> origins;  ///< "FILE:LINE" of "unset", "env.NAME" and the like

  [[nodiscard]] std::string origin(const std::string& key) const;
};

/// Where the wrapper's body ends and another language begins: the offset of the second line that
/// starts with "#!", or the whole size.
size_t body_size(std::string_view text);

/// Reads the text of a wrapper. Relative paths are below the application, which is the parent of
/// the wrapper's folder unless "app" or "current" says another; ".." is taken by name, not through
/// links. Throws Error (EBADMSG) with file, line and, for an unknown key, the one that is probably
/// meant.
Wrapper parse_wrapper(const std::string& text, const std::string& path);

}  // namespace drover::environ
