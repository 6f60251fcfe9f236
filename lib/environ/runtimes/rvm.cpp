// rvm, with gemsets, aliases and environment files.
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/environ/runtimes/runtime.h"
#include "lib/environ/small_file.h"
#include "lib/environ/version.h"
#include "lib/os/error.h"

namespace drover::environ {
namespace {

constexpr size_t kLongest = 64 << 10;

std::vector<std::string> roots(const Places& places) {
  return roots_from(places, "rvm_path",
                    {places.home + "/.rvm", "/usr/local/rvm", "/usr/share/rvm"});
}

void undo(Edit& edit, const Places& places) {
  const auto folders = roots(places);
  const auto in_rvm = [&](const std::string& path) {
    return std::any_of(folders.begin(), folders.end(),
                       [&](const std::string& root) { return is_in(path, root); });
  };
  const bool active = edit.block().has("rvm_path") || edit.block().has("rvm_version") ||
                      in_rvm(edit.block().value("MY_RUBY_HOME"));
  edit.drop_parts("PATH", folders, {"gems/*/bin", "rubies/*/bin", "wrappers/*", "bin"});
  edit.drop_parts("MANPATH", folders, {"man"});
  if (in_rvm(edit.block().value("GEM_HOME"))) edit.unset("GEM_HOME");
  edit.drop_parts("GEM_PATH", in_rvm);
  if (active)
    edit.unset(
        {"RVM_PROJECT_PATH", "MY_RUBY_HOME", "IRBRC", "RUBY_VERSION", "MAGLEV_HOME", "RBXOPT"});
  const std::string root = edit.block().value("rvm_path");
  const bool usual = !root.starts_with('/') || root == places.home + "/.rvm";
  edit.unset_with_prefix("rvm_", usual ? "" : "rvm_path");  // where it is stays known
  for (const char* prefix : {"__rvm_", "_rvm_"})
    edit.unset_with_prefix(prefix);
}

/// config/alias and config/known_aliases: lines "name=ruby-3.1.2@gemset".
std::optional<std::string> alias(const std::string& root, std::string_view name) {
  for (const char* file : {"/config/known_aliases", "/config/alias"}) {
    const auto text = read_small_file(root + file, kLongest);
    std::string_view rest = text ? std::string_view(*text) : std::string_view();
    while (const auto line = next_line(rest)) {
      const auto equals = line->find('=');
      if (equals == std::string_view::npos || trimmed(line->substr(0, equals)) != name) continue;
      return std::string(trimmed(line->substr(equals + 1)));
    }
  }
  return std::nullopt;
}

/// A value in single or double quotes in which a shell would expand nothing.
std::optional<std::string> quoted(std::string_view text) {
  if (text.size() < 2 || (text.front() != '\'' && text.front() != '"') ||
      text.back() != text.front())
    return std::nullopt;
  const char quote = text.front();
  text = text.substr(1, text.size() - 2);
  if (text.find(quote) != std::string_view::npos) return std::nullopt;
  if (quote == '"' && text.find_first_of("$`\\") != std::string_view::npos) return std::nullopt;
  return std::string(text);
}

struct Environment {
  std::vector<Variable> variables;
  std::vector<std::string> unset;
  std::vector<std::string> path;
};

/// The variables that rvm writes.
bool is_rvms(std::string_view name) {
  constexpr std::array kNames = {"GEM_HOME",     "GEM_PATH",    "MY_RUBY_HOME", "IRBRC",
                                 "RUBY_VERSION", "MAGLEV_HOME", "RBXOPT"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

bool read_line(std::string_view line, Environment& environment) {
  line = trimmed(line);
  if (line.empty() || line.starts_with('#')) return true;
  if (line.starts_with("unset ")) {
    const auto name = trimmed(line.substr(6));
    if (!is_rvms(name)) return false;
    environment.unset.emplace_back(name);
    return true;
  }
  const auto equals = line.find('=');
  if (!line.starts_with("export ") || equals == std::string_view::npos) return false;
  const auto name = trimmed(line.substr(7, equals - 7));
  auto text = line.substr(equals + 1);
  if (name != "PATH") {
    auto value = quoted(text);
    if (!is_rvms(name) || !value) return false;
    environment.variables.push_back({std::string(name), std::move(*value)});
    return true;
  }
  constexpr std::string_view kRest = ":$PATH\"";
  if (!text.starts_with('"') || !text.ends_with(kRest)) return false;
  text = text.substr(1, text.size() - 1 - kRest.size());
  if (text.find_first_of("$`\\\"") != std::string_view::npos) return false;
  environment.path = split_list(text);
  return true;
}

/// What rvm wrote for this ruby. It is a script, but a generated one: it is read, never run, and
/// refused as a whole when it holds anything that rvm does not write, or leads out of rvm.
std::optional<Environment> read_environment(const std::string& path, const Installation& ruby) {
  const auto text = read_small_file(path, kLongest);
  if (!text) return std::nullopt;
  Environment environment;
  std::string_view rest = *text;
  while (const auto line = next_line(rest))
    if (!read_line(*line, environment)) return std::nullopt;
  const auto in_rvm = [&](const std::string& part) { return is_in(part, ruby.root); };
  const auto& parts = environment.path;
  if (!std::all_of(parts.begin(), parts.end(), in_rvm) ||
      std::find(parts.begin(), parts.end(), ruby.prefix + "/bin") == parts.end())
    return std::nullopt;
  for (const auto& [name, value] : environment.variables) {
    const auto values = split_list(value);
    if (name != "RUBY_VERSION" && !std::all_of(values.begin(), values.end(), in_rvm))
      return std::nullopt;
  }
  return environment;
}

/// "ruby-3.1.2@gemset": the name of its folders and files.
std::string id_of(const Installation& ruby) {
  if (ruby.gemsets.empty()) return ruby.version;
  if (!is_gemset_name(ruby.gemsets[0]))
    throw Error::because(EBADMSG, "use gemset", ruby.gemsets[0], "rvm has no gemset like that");
  return ruby.version + "@" + ruby.gemsets[0];
}

/// The same values by the layout.
Environment environment_of_layout(const Installation& ruby) {
  const std::string global = ruby.root + "/gems/" + ruby.version + "@global";
  const std::string home = ruby.root + "/gems/" + id_of(ruby);
  Environment environment;
  environment.variables = {{"GEM_HOME", home},
                           {"GEM_PATH", home == global ? home : home + ":" + global},
                           {"MY_RUBY_HOME", ruby.prefix},
                           {"IRBRC", ruby.prefix + "/.irbrc"},
                           {"RUBY_VERSION", ruby.version}};
  environment.unset = {"MAGLEV_HOME", "RBXOPT"};
  environment.path = {home + "/bin"};
  if (home != global) environment.path.push_back(global + "/bin");
  environment.path.push_back(ruby.prefix + "/bin");
  return environment;
}

void enter(Edit& edit, const Installation& ruby) {
  const std::string file = ruby.root + "/environments/" + id_of(ruby);
  struct stat st {};
  const bool exists = ::stat(file.c_str(), &st) == 0;
  auto environment = read_environment(file, ruby);
  const std::string gems = ruby.root + "/gems/" + id_of(ruby);
  if (!exists && !ruby.gemsets.empty() && ::stat(gems.c_str(), &st) != 0)
    throw Error::because(
        ENOPKG, "use gemset", ruby.gemsets[0], fmt::format("there is no '{}'", gems),
        fmt::format("rvm {} do rvm gemset create {}", ruby.version, ruby.gemsets[0]));
  if (!environment) {
    if (exists) edit.warn(file, "it is not as rvm writes it: the layout is used instead");
    environment = environment_of_layout(ruby);
  }
  for (const auto& name : environment->unset)
    edit.unset(std::string_view(name));
  for (const auto& [name, value] : environment->variables)
    edit.set(name, value);
  edit.prepend("PATH", environment->path);
}

}  // namespace

Runtime rvm() {
  return {.name = "rvm",
          .languages = {Language::ruby},
          .undo = undo,
          .roots = roots,
          .root_variable = "rvm_path",
          .versions = [](const std::string& root, Language) { return root + "/rubies"; },
          .alias = alias,
          .global_file = nullptr,
          .enter = enter};
}

}  // namespace drover::environ
