#include "lib/environ/version_file.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "lib/environ/mise_config.h"
#include "lib/environ/small_file.h"
#include "lib/environ/version.h"
#include "lib/os/error.h"

namespace drover::environ {
namespace {

constexpr size_t kLongest = 1024;          // of a file with one version
constexpr size_t kLongestList = 64 << 10;  // of one with more in it

[[noreturn]] void refuse(const std::string& path, size_t line, const std::string& why) {
  throw Error::because(EBADMSG, "use version file",
                       line == 0 ? path : fmt::format("{}:{}", path, line), why,
                       "a version is never replaced by another one: put it right, or name one in "
                       "the wrapper");
}

/// A link that leads nowhere counts: it is an error, not a file that is missing.
bool has_entry(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0;
}

std::string read(const std::string& path, size_t limit) {
  auto text = read_small_file(path, limit);
  if (!text)
    refuse(path, 0,
           errno == EFBIG    ? fmt::format("it is longer than {} bytes", limit)
           : errno == EINVAL ? "it is not a regular file"
                             : std::generic_category().message(errno));
  if (text->find('\0') != std::string::npos) refuse(path, 0, "it holds a NUL");
  if (text->starts_with("\xEF\xBB\xBF")) text->erase(0, 3);
  return *text;
}

std::string_view without_comment(std::string_view line) {
  return trimmed(line.substr(0, line.find('#')));
}

Wanted wanted_from(std::string_view word, const std::string& path, size_t line,
                   Language language = Language::ruby) {
  Wanted wanted;
  wanted.origin = fmt::format("{}:{}", path, line);
  const bool is_name = is_version_name(word) || (language == Language::node && is_lts_name(word)) ||
                       (language == Language::python && is_environment_of_pyenv(word));
  if (!is_name) refuse(path, line, "that is no version");
  const auto at = word.find('@');
  wanted.versions.emplace_back(word.substr(0, at));
  if (at == std::string_view::npos) return wanted;
  wanted.gemsets.emplace_back(word.substr(at + 1));
  if (!is_gemset_name(wanted.gemsets[0])) refuse(path, line, "that is no gemset");
  return wanted;
}

/// A file with one version: its first line that is not a comment. pyenv's may be a list, of which
/// the first one is the python.
Wanted read_plain(const std::string& path, Language language) {
  const std::string text = read(path, kLongest);
  std::string_view rest = text;
  for (size_t number = 1; const auto line = next_line(rest); ++number) {
    auto word = without_comment(*line);
    if (word.empty()) continue;
    if (language == Language::python) word = first_word(word);
    if (word.find_first_of(" \t") != std::string_view::npos)
      refuse(path, number, "more than one word");
    return wanted_from(word, path, number, language);
  }
  refuse(path, 0, "it names no version");
}

/// "3.2", "ref:abc" (a build of that commit), "system"; "path:/x" would be a way out of what is
/// installed.
std::string tool_version(std::string_view word, const std::string& path, size_t line) {
  if (word.starts_with("path:")) refuse(path, line, "path: is not used from a version file");
  const bool is_build = word.starts_with("ref:");
  if (is_build) word.remove_prefix(4);
  if (!is_version_name(word)) refuse(path, line, "that is no version");
  return (is_build ? "ref-" : "") + std::string(word);
}

/// asdf's .tool-versions: "ruby 3.1.2 system" gives what to try, in order.
std::optional<Wanted> read_tool_versions(const std::string& path, Language language) {
  const std::string text = read(path, kLongestList);
  const std::string_view tool = language == Language::node ? "nodejs" : to_string(language);
  std::string_view rest = text;
  for (size_t number = 1; const auto line = next_line(rest); ++number) {
    std::string_view words = without_comment(*line);
    const auto name = first_word(words);
    const bool is_tool = name == tool || (language == Language::node && name == "node");
    if (!is_tool) continue;
    Wanted wanted;
    wanted.origin = fmt::format("{}:{}", path, number);
    words.remove_prefix(name.size());
    for (words = trimmed(words); !words.empty(); words = trimmed(words)) {
      const auto word = first_word(words);
      wanted.versions.push_back(tool_version(word, path, number));
      words.remove_prefix(word.size());
    }
    if (wanted.versions.empty()) refuse(path, number, "it names no version");
    return wanted;
  }
  return std::nullopt;
}

/// rvm's .versions.conf: "ruby=3.1.2", "ruby-gemset=app".
std::optional<Wanted> read_versions_conf(const std::string& path) {
  const std::string text = read(path, kLongestList);
  std::optional<Wanted> wanted;
  std::string gemset;
  std::string_view rest = text;
  for (size_t number = 1; const auto line = next_line(rest); ++number) {
    const auto content = trimmed(*line);
    if (content.starts_with("ruby="))
      wanted = wanted_from(trimmed(content.substr(5)), path, number);
    if (content.starts_with("ruby-gemset=")) gemset = trimmed(content.substr(12));
    if (!gemset.empty() && !is_gemset_name(gemset)) refuse(path, number, "that is no gemset");
  }
  if (wanted && !gemset.empty()) wanted->gemsets = {gemset};
  return wanted;
}

/// A Gemfile's `ruby "3.1.2"`, when it is just that: anything else would have to be run.
std::optional<Wanted> read_gemfile(const std::string& path) {
  const std::string text = read(path, kLongestList);
  std::string_view rest = text;
  for (size_t number = 1; const auto line = next_line(rest); ++number) {
    auto content = without_comment(*line);
    if (content == "=begin") refuse(path, number, "drover-exec reads no long comments there");
    if (!content.starts_with("ruby") || content.find_first_of(" \t(\"'") != 4) continue;
    content = trimmed(content.substr(4));
    if (content.starts_with('(') && content.ends_with(')'))
      content = trimmed(content.substr(1, content.size() - 2));
    const bool is_quoted = content.size() > 2 && content.front() == content.back() &&
                           (content.front() == '"' || content.front() == '\'');
    if (!is_quoted || !is_version_name(content.substr(1, content.size() - 2)))
      refuse(path, number, "drover-exec reads no more than one version in quotes there");
    return wanted_from(content.substr(1, content.size() - 2), path, number);
  }
  return std::nullopt;
}

/// rvm's one gemset, or rbenv-gemset's list: ".gems app -global". A name that starts with a dot is
/// a folder of the project's own.
std::vector<std::string> read_gemsets(const std::string& folder, const std::string& path) {
  const std::string text = read(path, kLongest);
  std::vector<std::string> gemsets;
  bool without_global = false;
  std::string_view rest = text;
  for (auto word = first_word(rest); !word.empty(); word = first_word(rest)) {
    rest = rest.substr(static_cast<size_t>(word.data() - rest.data()) + word.size());
    const bool local = word.starts_with('.');
    if (word == kWithoutGlobal) {
      without_global = true;
    } else if (is_gemset_name(word.substr(local ? 1 : 0))) {
      gemsets.push_back((local ? folder + "/" : "") + std::string(word));
    } else {
      refuse(path, 0, "that is no gemset");
    }
  }
  if (!gemsets.empty() && without_global) gemsets.emplace_back(kWithoutGlobal);
  return gemsets;
}

void add_gemsets(Wanted& wanted, const std::string& folder) {
  if (!wanted.gemsets.empty()) return;
  for (const char* name : {"/.ruby-gemsets", "/.rbenv-gemsets", "/.ruby-gemset"}) {
    if (!has_entry(folder + name)) continue;
    wanted.gemsets = read_gemsets(folder, folder + name);
    return;
  }
}

std::vector<const char*> plain_names(Language language) {
  switch (language) {
    case Language::ruby:
      return {"/.ruby-version", "/.rbenv-version"};
    case Language::python:
      return {"/.python-version"};
    case Language::node:
      return {"/.node-version", "/.nvmrc"};
  }
  return {};
}

std::optional<Wanted> look_in(Language language, const std::string& folder) {
  for (const char* name : plain_names(language))
    if (has_entry(folder + name)) return read_plain(folder + name, language);
  if (auto wanted = read_mise_config(language, folder)) return wanted;
  if (has_entry(folder + "/.tool-versions"))
    if (auto wanted = read_tool_versions(folder + "/.tool-versions", language)) return wanted;
  if (language != Language::ruby) return std::nullopt;
  if (has_entry(folder + "/.versions.conf"))
    if (auto wanted = read_versions_conf(folder + "/.versions.conf")) return wanted;
  for (const char* name : {"/Gemfile", "/gems.rb"})
    if (has_entry(folder + name)) return read_gemfile(folder + name);
  return std::nullopt;
}

/// A folder above the project's in which others can put what they like: /tmp.
bool is_anybodys(const std::string& folder) {
  struct stat st {};
  if (::stat(folder.c_str(), &st) != 0) return true;
  return (st.st_mode & S_IWOTH) != 0 || (st.st_uid != 0 && st.st_uid != ::geteuid());
}

}  // namespace

std::optional<Wanted> find_version_file(Language language, const std::string& folder) {
  std::string at = normal_path(folder);
  for (bool first = true;; first = false) {
    if (!first && is_anybodys(at)) return std::nullopt;
    if (auto wanted = look_in(language, at == "/" ? "" : at)) {
      if (language == Language::ruby) add_gemsets(*wanted, at);
      return wanted;
    }
    const auto slash = at.rfind('/');
    if (at == "/" || slash == std::string::npos) return std::nullopt;
    at = slash == 0 ? "/" : at.substr(0, slash);
  }
}

std::optional<Wanted> read_tool_versions_of_home(Language language, const std::string& home) {
  const std::string path = home + "/.tool-versions";
  if (home.empty() || !has_entry(path)) return std::nullopt;
  return read_tool_versions(path, language);
}

std::optional<Wanted> read_global_file(const std::string& path, Language language) {
  if (!has_entry(path)) return std::nullopt;
  return read_plain(path, language);
}

}  // namespace drover::environ
