#include "lib/environ/wrapper_file.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <functional>

#include "lib/config/values.h"
#include "lib/environ/edit.h"
#include "lib/environ/logical_path.h"
#include "lib/environ/runtimes/runtime.h"
#include "lib/environ/version.h"
#include "lib/os/error.h"

namespace drover::environ {
namespace {

std::string lexical(const std::string& folder, const std::string& path) {
  const std::filesystem::path full =
      path.starts_with('/') ? std::filesystem::path(path) : std::filesystem::path(folder) / path;
  return normal_path(full.lexically_normal().string());
}

class Reader : config::Values {
 public:
  Reader(const toml::table& table, const std::string& file)
      : Values(file, "use wrapper"), table_(table) {}

  Wrapper read() {
    wrapper_.path = file();
    read_place();
    for (const auto& [key, node] : table_)
      read_key(std::string(key.str()), node);
    return std::move(wrapper_);
  }

 private:
  using Action = std::function<void(const toml::node&)>;

  [[nodiscard]] std::string path(const toml::node& node) const {
    const std::string value = text(node);
    if (value.empty()) refuse(node, "an empty path");
    return lexical(wrapper_.app, value);
  }

  [[nodiscard]] std::vector<std::string> command(const toml::node& node) const {
    std::vector<std::string> words = Values::command(node);
    for (const auto& word : words)
      if (word == "$@" || word == "$*")
        refuse(node, fmt::format("without \"{}\": the arguments follow by themselves", word));
    return words;
  }

  [[nodiscard]] std::vector<std::string> paths(const toml::node& node) const {
    std::vector<std::string> values = texts(node);
    for (auto& value : values)
      value = lexical(wrapper_.app, value);
    return values;
  }

  /// The application's folder comes first: the other paths are below it.
  void read_place() {
    wrapper_.app = lexical(std::filesystem::path(file()).parent_path().string(), "..");
    if (const auto* app = table_.get("app")) wrapper_.app = path(*app);
    if (const auto* current = table_.get("current")) {
      // Called by the release's own path, it is known by the link's all the same.
      const std::string release = wrapper_.app;
      std::error_code unreadable;  // not there: by its name
      const auto real = std::filesystem::canonical(release, unreadable).string();
      if (!unreadable) wrapper_.app = real;  // so that it is the same when it is called by the link
      wrapper_.app = path(*current);
      const std::string by_link =
          wrapper_.app + file().substr(std::min(release.size(), file().size()));
      if (file().starts_with(release + "/") && file_behind(by_link)) wrapper_.path = by_link;
    }
  }

  void read_env(const toml::node& node) {
    for (const auto& [key, value] : table(node)) {
      if (!config::is_variable_name(key.str())) refuse(value, "no name of a variable");
      if (actions_.contains(std::string(key.str())))
        refuse(value, fmt::format("'{}' would be a variable here: as a key it has to stand above "
                                  "the first line in [brackets]",
                                  key.str()));
      wrapper_.env.push_back({std::string(key.str()), text(value)});
      wrapper_.origins["env." + wrapper_.env.back().name] = origin(value);
    }
  }

  void read_secrets(const toml::node& node) {
    for (const auto& [key, value] : table(node)) {
      const std::string where = text(value);
      if (!config::is_variable_name(key.str())) refuse(value, "no name of a variable");
      if (!where.starts_with("file:") && !where.starts_with("cred:"))
        refuse(value, "a secret is \"file:PATH\" or \"cred:NAME\"");
      if (where.starts_with("cred:") && !is_version_name(std::string_view(where).substr(5)))
        refuse(value, "no name of a credential");
      wrapper_.secrets[std::string(key.str())] =
          where.starts_with("file:") ? lexical(wrapper_.app, where.substr(5)) : where;
      wrapper_.origins["secret." + std::string(key.str())] = origin(value);
    }
  }

  void read_path_table(const toml::node& node) {
    for (const auto& [key, value] : table(node)) {
      if (key.str() == "prepend") {
        wrapper_.path_front = paths(value);
      } else if (key.str() == "append") {
        wrapper_.path_back = paths(value);
      } else {
        refuse(value,
               fmt::format("unknown key 'path.{}'; there are prepend and append", key.str()));
      }
    }
  }

  [[nodiscard]] Setting setting(const toml::node& node) const {
    Setting setting{text(node), origin(node)};
    if (setting.value.empty()) refuse(node, "it is empty; \"none\" is none");
    return setting;
  }

  std::map<std::string, Action> actions() {
    Wrapper& w = wrapper_;
    return {
        {"app", [](const toml::node&) {}},
        {"current", [](const toml::node&) {}},
        {"ruby", [&](const toml::node& node) { w.ruby = setting(node); }},
        {"python", [&](const toml::node& node) { w.python = setting(node); }},
        {"node", [&](const toml::node& node) { w.node = setting(node); }},
        {"gem_home",
         [&](const toml::node& node) {
           w.gem_home = text(node) == "chruby" ? "chruby" : path(node);
         }},
        {"bundle",
         [&](const toml::node& node) {
           w.bundle = one_of<Bundle>(node, {{"auto", Bundle::automatic},
                                            {"setup", Bundle::setup},
                                            {"exec", Bundle::exec},
                                            {"none", Bundle::none}});
         }},
        {"bundle_gemfile",
         [&](const toml::node& node) {
           const std::string value = text(node);
           w.gemfile = value == "keep" ? value : value == "current" ? "" : path(node);
         }},
        {"command", [&](const toml::node& node) { w.command = command(node); }},
        {"clean",
         [&](const toml::node& node) {
           w.clean = one_of<Clean>(node, {{"reset", Clean::reset}, {"strict", Clean::strict}});
         }},
        {"pass", [&](const toml::node& node) { w.pass = texts(node); }},
        {"unset", [&](const toml::node& node) { w.unset = texts(node); }},
        {"allow", [&](const toml::node& node) { w.allow = texts(node); }},
        {"env", [&](const toml::node& node) { read_env(node); }},
        {"env_file", [&](const toml::node& node) { w.env_files = paths(node); }},
        {"env_dir", [&](const toml::node& node) { w.env_dirs = paths(node); }},
        {"secret", [&](const toml::node& node) { read_secrets(node); }},
        {"path", [&](const toml::node& node) { read_path_table(node); }},
        {"source", [&](const toml::node& node) { w.scripts = paths(node); }},
        {"cwd",
         [&](const toml::node& node) { w.folder = text(node) == "keep" ? "keep" : path(node); }},
        {"umask", [&](const toml::node& node) { w.umask = octal(node); }},
        {"lock", [&](const toml::node& node) { w.lock = path(node); }},
        {"insecure_paths", [&](const toml::node& node) { w.insecure_paths = flag(node); }},
    };
  }

  void read_key(const std::string& key, const toml::node& node) {
    const auto& known = actions_;
    const auto action = known.find(key);
    if (action != known.end()) {
      wrapper_.origins[key] = origin(node);
      action->second(node);
      return;
    }
    if (const Runtime* manager = find_runtime(key);
        manager != nullptr && !manager->languages.empty())
      refuse(node, fmt::format("unknown key '{0}'; {1} = \"{0}:...\" chooses by that manager", key,
                               to_string(manager->languages.front())));
    std::vector<std::string> names;
    names.reserve(known.size());
    for (const auto& [name, meaning] : known)
      names.push_back(name);
    refuse_key(node, key, names);
  }

  const toml::table& table_;
  Wrapper wrapper_;
  const std::map<std::string, Action> actions_ = actions();
};

}  // namespace

std::string Wrapper::origin(const std::string& key) const {
  const auto found = origins.find(key);
  return found == origins.end() ? key : found->second;
}

size_t body_size(std::string_view text) {
  const auto next = text.find("\n#!");
  return next == std::string_view::npos ? text.size() : next + 1;
}

Wrapper parse_wrapper(const std::string& text, const std::string& path) {
  const size_t size = body_size(text);
  const toml::table table =
      config::parse_toml(std::string_view(text).substr(0, size), path, "use wrapper");
  Wrapper wrapper = Reader(table, path).read();
  const std::string_view line = std::string_view(text).substr(size);
  wrapper.ruby_follows = line.substr(0, line.find('\n')).find("ruby") != std::string_view::npos;
  if (size < text.size() && !wrapper.ruby_follows)
    throw Error::because(EBADMSG, "use wrapper", path,
                         "the second line with \"#!\" does not name ruby");
  if (wrapper.ruby_follows && (wrapper.bundle == Bundle::exec || !wrapper.command.empty()))
    throw Error::because(EBADMSG, "use wrapper", path,
                         "it goes on as a ruby script: no command, and no bundle = \"exec\"");
  return wrapper;
}

}  // namespace drover::environ
