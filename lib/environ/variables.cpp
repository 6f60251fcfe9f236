#include "lib/environ/variables.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "lib/environ/capture.h"
#include "lib/environ/env_file.h"
#include "lib/environ/small_file.h"
#include "lib/os/error.h"

namespace drover::environ {
namespace {

constexpr size_t kLongestFile = 1 << 20;
constexpr auto kScriptLimit = std::chrono::seconds(10);

class Variables {
 public:
  Variables(const Wrapper& wrapper, Edit& edit, Trust& trust)
      : wrapper_(wrapper), edit_(edit), trust_(trust) {}

  void add() {
    source_scripts();
    read_files();
  }

 private:
  void refuse_dangerous(const std::string& name, const std::string& file) const {
    const bool allowed =
        std::find(wrapper_.allow.begin(), wrapper_.allow.end(), name) != wrapper_.allow.end();
    if (is_dangerous(name) && !allowed)
      throw Error::because(EPERM, "set variable", name,
                           fmt::format("'{}' may not decide what is executed", file),
                           "set it in the wrapper, or name it there in 'allow'");
  }

  void set_from_file(const std::string& name, const std::string& value, const std::string& file) {
    refuse_dangerous(name, file);
    edit_.set(name, value);
  }

  void source_scripts() {
    for (const auto& script : wrapper_.scripts) {
      trust_.check_way(script);
      const Captured captured = capture(script, wrapper_.app, edit_.block(), kScriptLimit);
      edit_.because(script);
      for (const auto& name : captured.unset)
        edit_.unset(std::string_view(name));
      for (const auto& [name, value] : captured.set)
        edit_.set(name, value);
      if (captured.umask_changed) edit_.warn(script, "the umask that it sets is not taken over");
      if (captured.folder_changed) edit_.warn(script, "its change of folder is not taken over");
    }
  }

  void read_files() {
    for (const auto& folder : wrapper_.env_dirs) {
      trust_.check_way(folder);
      const EnvDir found = read_env_dir(
          folder, [this](const std::string& path) { return trust_.read(path, kLongestFile); });
      edit_.because(folder);
      for (const auto& name : found.unset) {
        trust_.check_way(fmt::format("{}/{}", folder, name));
        refuse_dangerous(name, folder);
        edit_.unset(std::string_view(name));
      }
      for (const auto& variable : found.variables) {
        trust_.check_way(fmt::format("{}/{}", folder, variable.name));
        set_from_file(variable.name, variable.value, folder);
      }
    }
    for (const auto& file : wrapper_.env_files) {
      trust_.check_way(file);
      for (const auto& [name, value, line] :
           parse_env_file(trust_.read(file, kLongestFile), file)) {
        edit_.because(fmt::format("{}:{}", file, line));
        set_from_file(name, value, file);
      }
    }
    edit_.because(wrapper_.origin("unset"));
    for (const auto& name : wrapper_.unset)
      edit_.unset(std::string_view(name));
    for (const auto& [name, value] : wrapper_.env) {
      edit_.because(wrapper_.origin("env." + name));
      edit_.set(name, value);
    }
    for (const auto& [name, where] : wrapper_.secrets) {
      edit_.because(wrapper_.origin("secret." + name));
      set_secret(name, where);
    }
  }

  /// The program gets the file's name, not the secret: that would be in /proc/PID/environ and in
  /// every child.
  void set_secret(const std::string& name, const std::string& where) {
    std::string path = where;
    const std::string credentials = edit_.block().value("CREDENTIALS_DIRECTORY");
    if (where.starts_with("cred:")) {
      if (!credentials.starts_with('/'))
        throw Error::because(ENOENT, "use secret", fmt::format("{} ({})", name, where),
                             "CREDENTIALS_DIRECTORY is not set",
                             "systemd sets it where the unit has LoadCredential=");
      path = credentials + "/" + where.substr(5);
    }
    if (!exists(path)) throw Error(errno, "use secret", fmt::format("{} ({})", name, path));
    edit_.set(name + "_FILE", path);
  }

  const Wrapper& wrapper_;
  Edit& edit_;
  Trust& trust_;
};

}  // namespace

void add_variables(const Wrapper& wrapper, Edit& edit, Trust& trust) {
  Variables(wrapper, edit, trust).add();
}

void add_folders(const Wrapper& wrapper, Edit& edit, Trust& trust) {
  edit.because(wrapper.origin("path"));
  for (const auto* parts : {&wrapper.path_front, &wrapper.path_back})
    for (const auto& part : *parts)
      if (exists(part)) trust.check_way(part);
  if (!wrapper.path_front.empty()) edit.prepend("PATH", wrapper.path_front);
  if (wrapper.path_back.empty()) return;
  auto parts = split_list(edit.block().value("PATH"));
  for (const auto& part : wrapper.path_back)
    if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
  edit.set("PATH", join_list(parts));
}

}  // namespace drover::environ
