#include "lib/environ/mise_config.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>

#include "lib/config/toml.h"
#include "lib/environ/small_file.h"
#include "lib/environ/version.h"
#include "lib/os/error.h"

namespace drover::environ {
namespace {

constexpr size_t kLongest = 256 << 10;

[[noreturn]] void refuse(const std::string& path, const toml::source_region& where,
                         std::string_view why) {
  throw Error::because(EBADMSG, "use version file", fmt::format("{}:{}", path, where.begin.line),
                       why);
}

std::string version_of(const toml::node& node, const std::string& path) {
  const auto text = node.value_exact<std::string>();
  if (!text || !is_version_name(*text))
    refuse(path, node.source(), "a version in quotes is wanted; drover-exec runs no mise");
  return *text;
}

}  // namespace

std::optional<Wanted> read_mise_config(Language language, const std::string& folder) {
  constexpr std::array kNames = {
      "/mise.local.toml",          "/.mise.local.toml",  "/.mise.toml",        "/mise.toml",
      "/.config/mise/config.toml", "/.config/mise.toml", "/.mise/config.toml", "/mise/config.toml"};
  for (const char* name : kNames) {
    const std::string path = folder + name;
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) continue;
    const auto text = read_small_file(path, kLongest);
    if (!text)
      throw Error::because(EBADMSG, "use version file", path,
                           "it cannot be read, is no regular file, or is longer than 256 KiB");
    const toml::table config = config::parse_toml(*text, path, "use version file");
    const toml::node* entry = config.at_path("tools").at_path(to_string(language)).node();
    if (entry == nullptr && language == Language::node)
      entry = config.at_path("tools.nodejs").node();
    if (entry == nullptr) continue;
    Wanted wanted;
    wanted.origin = fmt::format("{}:{}", path, entry->source().begin.line);
    if (const auto* list = entry->as_array()) {
      for (const auto& element : *list)
        wanted.versions.push_back(version_of(element, path));
    } else {
      wanted.versions.push_back(version_of(*entry, path));
    }
    if (wanted.versions.empty()) refuse(path, entry->source(), "it names no version");
    return wanted;
  }
  return std::nullopt;
}

}  // namespace drover::environ
