#include "lib/environ/resolve.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/environ/small_file.h"
#include "lib/environ/version.h"
#include "lib/environ/version_file.h"
#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::environ {
namespace {

constexpr int kDeepestAlias = 8;
constexpr size_t kMostListed = 12;

bool is_program(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

bool is_folder(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

std::string resolve_alias(const Runtime& runtime, const std::string& root, std::string version) {
  for (int depth = 0; runtime.alias != nullptr; ++depth) {
    const auto meaning = runtime.alias(root, version);
    if (!meaning || meaning->empty()) break;
    if (depth == kDeepestAlias)
      throw Error::because(EBADMSG, "use alias", version,
                           fmt::format("it leads on and on, in {}'s '{}'", runtime.name, root));
    version = *meaning;
  }
  return version;
}

/// The best installed version below one root of a manager. Empty when there is none.
std::optional<Installation> find_below(const std::string& root, const Runtime& runtime,
                                       Language language, const std::string& version, bool exact) {
  const std::string folder = runtime.versions(root, language);
  if (folder.empty()) return std::nullopt;
  auto names = names_in(folder);
  const bool is_unlisted = names.empty() && is_version_name(version);
  if (is_unlisted || (language == Language::python && is_environment_of_pyenv(version)))
    names = {version};
  for (auto found = best_match(version, names); found; found = best_match(version, names)) {
    if (exact && !is_same_version(version, *found)) break;
    const std::string prefix = folder + "/" + *found;
    if (is_program(interpreter_of(language, prefix)))
      return Installation{language, *found, prefix, root, {}};
    std::erase(names, *found);  // half installed
  }
  return std::nullopt;
}

/// The wanted version in one manager: the best of all its roots, and of equal ones the first; but
/// an alias means what it means in the first root that knows it. Empty when it is not there.
std::optional<Installation> find_in(const Runtime& runtime, Language language,
                                    const std::string& wanted,
                                    const std::vector<std::string>& gemsets, bool exact,
                                    const Places& places) {
  std::optional<Installation> best;
  for (const auto& root : runtime.roots(places)) {
    std::string version = resolve_alias(runtime, root, wanted);
    const bool is_alias = version != wanted;
    auto sets = gemsets;
    if (const auto at = version.find('@'); at != std::string::npos) {  // an rvm alias may have one
      if (sets.empty() && is_gemset_name(version.substr(at + 1)))
        sets.push_back(version.substr(at + 1));
      version.resize(at);
    }
    auto found = find_below(root, runtime, language, version, exact);
    if (!found || (best && best_match(version, {best->version, found->version}) == best->version))
      continue;
    found->gemsets = std::move(sets);
    best = std::move(found);
    if (is_alias) break;
  }
  return best;
}

Installation installation_at(Language language, const std::string& prefix) {
  Installation installation;
  installation.language = language;
  installation.prefix = prefix;
  return installation;
}

bool speaks(const Runtime& runtime, Language language) {
  return std::find(runtime.languages.begin(), runtime.languages.end(), language) !=
         runtime.languages.end();
}

std::string list_installed(Language language, const Places& places) {
  std::string list;
  for (const Runtime& runtime : runtimes()) {
    if (!speaks(runtime, language)) continue;
    for (const auto& root : runtime.roots(places)) {
      const std::string folder = runtime.versions(root, language);
      auto names = folder.empty() ? std::vector<std::string>() : names_in(folder);
      std::sort(names.begin(), names.end());
      if (names.size() > kMostListed) names.resize(kMostListed);
      for (const auto& name : names)
        list += fmt::format("{}{}:{}", list.empty() ? "" : " ", runtime.name, name);
    }
  }
  return list.empty() ? fmt::format("no {} is installed by a manager that is known, with HOME '{}'",
                                    to_string(language), places.home)
                      : "installed are " + list;
}

Choice look_everywhere(Language language, const Wanted& wanted, const Runtime* only,
                       const Places& places) {
  for (const auto& version : wanted.versions) {
    if (version == "system")
      return {Choice::Kind::system, nullptr, installation_at(language, {}), wanted.origin};
    for (const bool exact : {true, false}) {
      for (const Runtime& runtime : runtimes()) {
        if (!speaks(runtime, language) || (only != nullptr && only->name != runtime.name)) continue;
        auto found = find_in(runtime, language, version, wanted.gemsets, exact, places);
        if (found) return {Choice::Kind::installed, &runtime, std::move(*found), wanted.origin};
      }
    }
  }
  throw Error::because(ENOPKG, fmt::format("use {}", to_string(language)), wanted.versions.front(),
                       fmt::format("asked for by {}, it is not installed{}", wanted.origin,
                                   only == nullptr ? "" : fmt::format(" in {}", only->name)),
                       list_installed(language, places));
}

std::string below(const std::string& folder, const std::string& path) {
  return path.starts_with('/') ? normal_path(path) : normal_path(folder + "/" + path);
}

/// A virtual environment by the release that it is in now. Python finds its packages by the path
/// that it was started by: a worker that is forked between the switch of a link and the reload
/// would import from the next release.
std::string home_of_environment(const std::string& prefix) {
  const std::string config = prefix + "/pyvenv.cfg";
  return exists(config) ? os::split_path(os::canonical(config)).first : prefix;
}

Choice choose_prefix(Language language, const std::string& prefix, const Runtime* runtime,
                     const std::string& origin) {
  const std::string program = interpreter_of(language, prefix);
  if (!is_program(program))
    throw Error::because(ENOPKG, fmt::format("use {}", to_string(language)), prefix,
                         fmt::format("asked for by {}, there is no '{}'", origin, program));
  if (runtime != nullptr && runtime->name == "venv" && !exists(prefix + "/pyvenv.cfg"))
    throw Error::because(ENOPKG, "use virtual environment", prefix,
                         fmt::format("asked for by {}, it has no pyvenv.cfg", origin));
  const auto kind = runtime == nullptr ? Choice::Kind::prefix : Choice::Kind::installed;
  return {kind, runtime, installation_at(language, home_of_environment(prefix)), origin};
}

/// A virtual environment in the usual place.
std::optional<Choice> choose_local(Language language, const Places& places) {
  if (language != Language::python) return std::nullopt;
  for (const char* name : {"/.venv", "/venv"}) {
    const std::string prefix = places.app + name;
    if (::access((prefix + "/pyvenv.cfg").c_str(), F_OK) == 0)
      return choose_prefix(language, prefix, find_runtime("venv"), prefix + "/pyvenv.cfg");
    if (errno == EACCES) throw Error(errno, "use virtual environment", prefix);
    struct stat st {};
    if (::lstat(prefix.c_str(), &st) == 0 && ::stat(prefix.c_str(), &st) != 0)
      throw Error::because(ENOPKG, "use virtual environment", prefix, "the link leads nowhere");
  }
  return std::nullopt;
}

/// What a manager as a whole is set to.
std::optional<Wanted> managers_default(Language language, const Runtime& runtime,
                                       const Places& places) {
  if (runtime.home_default != nullptr) return runtime.home_default(language, places.home);
  for (const auto& root : runtime.roots(places)) {
    if (runtime.global_file != nullptr) {
      if (auto wanted = read_global_file(root + "/" + runtime.global_file, language)) return wanted;
    } else if (runtime.alias != nullptr && is_folder(runtime.versions(root, language))) {
      if (runtime.alias(root, "default"))
        return Wanted{{"default"}, {}, fmt::format("{}'s default", runtime.name)};
    }
  }
  return std::nullopt;
}

Choice choose_automatically(Language language, const std::string& origin, const Runtime* only,
                            const Places& places) {
  if (auto local = only == nullptr ? choose_local(language, places) : std::nullopt) return *local;
  if (const auto wanted = find_version_file(language, places.app))
    return look_everywhere(language, *wanted, only, places);
  for (const Runtime& runtime : runtimes()) {
    if (!speaks(runtime, language) || (only != nullptr && only->name != runtime.name)) continue;
    if (const auto wanted = managers_default(language, runtime, places))
      return look_everywhere(language, *wanted, &runtime, places);
  }
  throw Error::because(ENOPKG, fmt::format("choose a {}", to_string(language)), std::nullopt,
                       fmt::format("{} says \"auto\", and no version file is in '{}' or above it",
                                   origin, places.app),
                       list_installed(language, places));
}

}  // namespace

std::string interpreter_of(Language language, const std::string& prefix) {
  if (language == Language::ruby) return prefix + "/bin/ruby";
  if (language == Language::node) return prefix + "/bin/node";
  const std::string python = prefix + "/bin/python";
  return is_program(python) ? python : prefix + "/bin/python3";
}

Choice choose(Language language, const std::string& spec, const std::string& origin,
              const Places& places) {
  if (spec == "none" || spec.empty()) return {Choice::Kind::none, nullptr, {}, origin};
  if (spec == "auto") return choose_automatically(language, origin, nullptr, places);
  if (spec == "detect") {
    if (auto local = choose_local(language, places)) return *local;
    const auto wanted = find_version_file(language, places.app);
    if (!wanted) return {Choice::Kind::none, nullptr, {}, origin};
    return look_everywhere(language, *wanted, nullptr, places);
  }
  if (spec == "system")
    return {Choice::Kind::system, nullptr, installation_at(language, {}), origin};
  if (spec.starts_with('/')) return choose_prefix(language, normal_path(spec), nullptr, origin);

  if (const Runtime* manager = find_runtime(spec); manager != nullptr && speaks(*manager, language))
    throw Error::because(EBADMSG, "use", spec, fmt::format("{}: that is a manager", origin),
                         spec == "venv" || spec == "conda"
                             ? fmt::format("with the environment's folder: \"{}:FOLDER\"", spec)
                             : fmt::format("\"{0}:auto\" for the version file of the project, or "
                                           "\"{0}:VERSION\"",
                                           spec));
  const auto colon = spec.find(':');
  const Runtime* only = nullptr;
  std::string version = spec;
  if (colon != std::string::npos) {
    only = find_runtime(spec.substr(0, colon));
    version = spec.substr(colon + 1);
    if (only == nullptr || !speaks(*only, language))
      throw Error::because(
          EBADMSG, "use", spec,
          fmt::format("{}: no manager of {} has this name", origin, to_string(language)));
    if (only->name == "venv" || only->name == "conda")
      return choose_prefix(language, below(places.app, version), only, origin);
    if (version == "auto") return choose_automatically(language, origin, only, places);
  }
  Wanted wanted;
  wanted.origin = origin;
  const auto at = version.find('@');
  wanted.versions.push_back(version.substr(0, at));
  const bool is_lts = language == Language::node && is_lts_name(version);
  if (at != std::string::npos) wanted.gemsets.push_back(version.substr(at + 1));
  const bool is_environment = language == Language::python && is_environment_of_pyenv(version);
  if ((!is_version_name(wanted.versions[0]) && !is_lts && !is_environment) ||
      (at != std::string::npos && !is_gemset_name(wanted.gemsets[0])))
    throw Error::because(EBADMSG, "use", spec, fmt::format("{}: that is no version", origin));
  return look_everywhere(language, wanted, only, places);
}

void enter(Edit& edit, const Choice& choice) {
  if (choice.kind != Choice::Kind::installed && choice.kind != Choice::Kind::prefix) return;
  const Installation& installation = choice.installation;
  edit.because(choice.origin);
  if (choice.runtime != nullptr && choice.runtime->enter != nullptr) {
    choice.runtime->enter(edit, installation);
  } else {
    edit.prepend("PATH", {installation.prefix + "/bin"});
  }
}

}  // namespace drover::environ
