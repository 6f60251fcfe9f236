#include <algorithm>
#include <array>

#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {

// What each file of this folder defines.
Runtime asdf();
Runtime bundler();
Runtime chruby();
Runtime conda();
Runtime mise();
Runtime nodenv();
Runtime nvm();
Runtime pyenv();
Runtime rbenv();
Runtime rvm();
Runtime venv();

std::span<const Runtime> runtimes() {
  // Bundler stands last: it is undone first, as what it saved is full of the others (reset.cpp).
  static const std::array kTable = {mise(), asdf(), rbenv(), nodenv(), pyenv(),  chruby(),
                                    rvm(),  nvm(),  venv(),  conda(),  bundler()};
  return kTable;
}

const Runtime* find_runtime(std::string_view name) {
  const auto table = runtimes();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const Runtime& runtime) { return runtime.name == name; });
  return found == table.end() ? nullptr : &*found;
}

std::string_view to_string(Language language) {
  switch (language) {
    case Language::ruby:
      return "ruby";
    case Language::python:
      return "python";
    case Language::node:
      return "node";
  }
  return "ruby";
}

std::vector<std::string> roots_from(const Places& places, const char* variable,
                                    std::vector<std::string> defaults) {
  const std::string told = normal_path(places.inherited.value(variable));
  // What is everybody's is no manager's: its bin would be taken out of PATH.
  constexpr std::array<std::string_view, 3> kSystems = {"/", "/usr", "/usr/local"};
  const bool known = std::find(defaults.begin(), defaults.end(), told) != defaults.end() ||
                     std::find(kSystems.begin(), kSystems.end(), told) != kSystems.end();
  if (told.starts_with('/') && !known) defaults.insert(defaults.begin(), told);
  if (places.home.empty())
    std::erase_if(defaults, [](const std::string& path) { return path.starts_with("/."); });
  return defaults;
}

bool is_in(std::string_view path, std::string_view root) {
  const std::string full = normal_path(path);
  const std::string folder = normal_path(root);
  return !folder.empty() && (full + "/").find("/../") == std::string::npos &&
         (full == folder || full.starts_with(folder == "/" ? folder : folder + "/"));
}

}  // namespace drover::environ
