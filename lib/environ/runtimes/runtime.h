// What drover knows of one runtime manager: how to take back what its activation left in an
// environment, where its versions are installed, and what a process of one of them needs. A further
// manager is one more file here and one more row in table.cpp.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/environ/edit.h"

namespace drover::environ {

struct Wanted;  // version_file.h

enum class Language { ruby, python, node };
std::string_view to_string(Language language);

/// Where to look for installations.
struct Places {
  std::string home;  ///< the user's home folder; empty when there is none
  std::string app;   ///< the application's folder, its links unresolved
  Block inherited;   ///< the environment as it came: where a manager was told to live
};

/// In a list of gemsets: the one called "global" does not belong to it.
constexpr std::string_view kWithoutGlobal = "-global";

/// Folders of a manager, below its root, whose programs choose a version each time they are run.
constexpr std::initializer_list<const char*> kShims = {"shims", "plugins/pyenv-virtualenv/shims"};

/// A version that was found.
struct Installation {
  Language language = Language::ruby;
  std::string version;               ///< the folder's name: "3.1.2", "ruby-3.1.2", "v18.1.0"
  std::string prefix;                ///< the folder with bin/
  std::string root;                  ///< the manager's folder
  std::vector<std::string> gemsets;  ///< rvm's one, rbenv-gemset's list; see Wanted
};

struct Runtime {
  std::string_view name;  ///< as in ruby = "rbenv:3.2.2"
  std::vector<Language> languages;
  /// Takes back what an activation left, whatever its order with others.
  void (*undo)(Edit& edit, const Places& places);
  /// The manager's folders that may exist, most specific first.
  std::vector<std::string> (*roots)(const Places& places) = [](const Places&) {
    return std::vector<std::string>();
  };
  /// The variable that tells where it lives; null when there is none.
  const char* root_variable = nullptr;
  /// The folder below a root whose entries are the versions of a language; empty for none.
  std::string (*versions)(const std::string& root, Language language) =
      [](const std::string&, Language) { return std::string(); };
  /// What an alias or the manager's own default stands for; null when it has none.
  std::optional<std::string> (*alias)(const std::string& root, std::string_view name) = nullptr;
  /// The version file of the manager as a whole, below a root; null when it has none.
  const char* global_file = nullptr;
  /// The version that it takes where no project asks for one, by files in the user's home folder;
  /// null when there are none such.
  std::optional<Wanted> (*home_default)(Language language, const std::string& home) = nullptr;
  /// Sets what a process of this version needs, but for PATH when null: prefix/bin.
  void (*enter)(Edit& edit, const Installation& installation) = nullptr;
};

/// All of them, in the order in which a version is looked for.
std::span<const Runtime> runtimes();
/// Null when there is none of this name.
const Runtime* find_runtime(std::string_view name);

/// `variable`'s value as it came, when it is an absolute path, and then `defaults`.
std::vector<std::string> roots_from(const Places& places, const char* variable,
                                    std::vector<std::string> defaults);
/// Whether `path` is `root` or below it.
bool is_in(std::string_view path, std::string_view root);

}  // namespace drover::environ
