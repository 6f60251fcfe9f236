// Bundler: no installations, but an environment that sticks.
#include <algorithm>

#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {
namespace {

constexpr std::string_view kBackup = "BUNDLER_ORIG_";
constexpr std::string_view kWasUnset = "BUNDLER_ENVIRONMENT_PRESERVER_INTENTIONALLY_NIL";

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) words.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

bool loads_bundler(std::string_view word) {
  return word.starts_with("-r") && (word == "-rbundler/setup" || word.ends_with("/bundler/setup"));
}

/// A folder of Bundler's own code: "/usr/lib/ruby/gems/3.1.0/gems/bundler-2.3.15/lib".
bool is_bundler_lib(std::string_view path) {
  const std::string normal = normal_path(path);
  const auto at = normal.rfind("/bundler-");
  return at != std::string::npos && normal.ends_with("/lib") &&
         normal.find('/', at + 1) == normal.size() - 4;
}

/// The other words stay, in their order.
void clean_rubyopt(Edit& edit) {
  const std::string* text = edit.block().find("RUBYOPT");
  if (text == nullptr) return;
  std::vector<std::string> words = words_of(*text);
  const size_t removed = std::erase_if(words, [](const std::string& word) {
    return loads_bundler(word) || (word.starts_with("-I") && is_bundler_lib(word.substr(2)));
  });
  if (removed == 0) return;
  std::string rest;
  for (const auto& word : words)
    rest += (rest.empty() ? "" : " ") + word;
  if (rest.empty()) {
    edit.unset("RUBYOPT");
  } else {
    edit.set("RUBYOPT", rest);
  }
}

/// Gives every variable that Bundler saved its value back: whichever they are, the list has grown
/// over its releases. True when there were any.
bool restore_saved(Edit& edit) {
  std::vector<Variable> saved;
  for (const auto& [name, value] : edit.block().variables())
    if (name.starts_with(kBackup) && name.size() > kBackup.size()) saved.push_back({name, value});
  for (const auto& [backup, value] : saved) {
    edit.restore(backup.substr(kBackup.size()), value == kWasUnset ? nullptr : &value);
    edit.unset(std::string_view(backup));
  }
  return !saved.empty();
}

void undo(Edit& edit, const Places&) {
  const Block& block = edit.block();
  const std::string options = block.value("RUBYOPT");
  const auto words = words_of(options);
  // Bundler switches to the version that the lock file asks for by executing itself again with
  // BUNDLER_VERSION set: taken away, it would switch for ever.
  const bool switching = block.has("BUNDLER_VERSION") && !block.has("BUNDLE_BIN_PATH") &&
                         !block.has("BUNDLER_ORIG_BUNDLER_VERSION");
  const bool has_path = block.has("BUNDLE_BIN_PATH");
  const bool saved = restore_saved(edit);
  const bool active = saved || has_path || std::any_of(words.begin(), words.end(), loads_bundler);
  if (active) {
    edit.unset({"BUNDLE_BIN_PATH", "BUNDLE_GEMFILE", "BUNDLER_SETUP", "BUNDLE_LOCKFILE"});
    if (!switching) edit.unset("BUNDLER_VERSION");
    clean_rubyopt(edit);
    edit.drop_parts("RUBYLIB", is_bundler_lib);
  }
}

}  // namespace

Runtime bundler() { return {.name = "bundler", .languages = {}, .undo = undo}; }

}  // namespace drover::environ
