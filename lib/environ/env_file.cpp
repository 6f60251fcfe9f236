#include "lib/environ/env_file.h"

#include <dirent.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <system_error>

#include "lib/environ/protocol.h"
#include "lib/environ/small_file.h"
#include "lib/os/error.h"

namespace drover::environ {
namespace {

bool is_name_start(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; }
bool is_name_character(char c) { return is_name_start(c) || (c >= '0' && c <= '9'); }

class Parser {
 public:
  Parser(std::string_view text, const std::string& path) : rest_(text), path_(path) {
    if (rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);
  }

  std::vector<EnvLine> parse() {
    for (; !rest_.empty(); ++line_)
      read_line();
    return std::move(variables_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw Error::because(EBADMSG, "use env file", fmt::format("{}:{}", path_, line_), why);
  }

  void read_line() {
    skip_blanks();
    if (rest_.empty() || rest_.front() == '#' || at_line_end()) {
      skip_line();
      return;
    }
    if (rest_.starts_with("export ") || rest_.starts_with("export\t")) {
      rest_.remove_prefix(7);
      skip_blanks();
    }
    const size_t line = line_;
    const std::string name = read_name();
    add(name, read_value(), line);
  }

  std::string read_name() {
    size_t size = 0;
    while (size < rest_.size() && is_name_character(rest_[size]))
      ++size;
    if (size == 0 || !is_name_start(rest_.front())) refuse("no name of a variable");
    const std::string name(rest_.substr(0, size));
    rest_.remove_prefix(size);
    if (rest_.empty() || rest_.front() != '=') refuse(fmt::format("no '=' behind '{}'", name));
    rest_.remove_prefix(1);
    return name;
  }

  std::string read_value() {
    if (rest_.starts_with(' ') || rest_.starts_with('\t')) {
      skip_blanks();
      if (rest_.starts_with('#')) {
        skip_line();
        return {};
      }
    }
    const char quote = rest_.empty() ? '\0' : rest_.front();
    if (quote != '\'' && quote != '"') return read_plain();
    rest_.remove_prefix(1);
    std::string value = quote == '"' ? read_double() : read_single();
    skip_blanks();
    if (!rest_.empty() && rest_.front() != '#' && !at_line_end())
      refuse("something stands behind the closing quote");
    skip_line();
    return value;
  }

  std::string read_plain() {
    const size_t end = std::min(rest_.find('\n'), rest_.size());
    std::string_view value = rest_.substr(0, end);
    for (size_t at = 0; at + 1 < value.size(); ++at)
      if ((value[at] == ' ' || value[at] == '\t') && value[at + 1] == '#')
        value = value.substr(0, at);
    skip_line();
    return std::string(trimmed(value));
  }

  std::string read_single() {
    const auto end = rest_.find('\'');
    if (end == std::string_view::npos) refuse("the quote is not closed");
    std::string value(rest_.substr(0, end));
    count_lines(value);
    rest_.remove_prefix(end + 1);
    return value;
  }

  std::string read_double() {
    std::string value;
    for (size_t at = 0; at < rest_.size(); ++at) {
      if (rest_[at] == '"') {
        count_lines(rest_.substr(0, at));
        rest_.remove_prefix(at + 1);
        return value;
      }
      if (rest_[at] != '\\' || at + 1 == rest_.size()) {
        value += rest_[at];
        continue;
      }
      value += unescaped(rest_[++at]);
    }
    refuse("the quote is not closed");
  }

  [[nodiscard]] char unescaped(char c) const {
    switch (c) {
      case 'n':
        return '\n';
      case 't':
        return '\t';
      case 'r':
        return '\r';
      case '\\':
      case '"':
      case '$':
        return c;
      default:
        refuse("an unknown escape: there are \\n \\t \\r \\\\ \\\" and \\$");
    }
  }

  void add(const std::string& name, std::string value, size_t line) {
    if (value.find('\0') != std::string::npos) refuse(fmt::format("'{}' holds a NUL", name));
    const auto [known, is_new] = indices_.emplace(name, variables_.size());
    if (is_new) {
      variables_.push_back({name, std::move(value), line});
    } else if (variables_[known->second].value != value) {
      refuse(fmt::format("'{}' has another value above", name));
    }
  }

  [[nodiscard]] bool at_line_end() const {
    return rest_.starts_with('\n') || rest_.starts_with("\r\n");
  }
  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t'))
      rest_.remove_prefix(1);
  }
  void skip_line() {
    const auto end = rest_.find('\n');
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
  }
  void count_lines(std::string_view text) {
    line_ += static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }

  std::string_view rest_;
  const std::string& path_;
  size_t line_ = 1;
  std::vector<EnvLine> variables_;
  std::map<std::string, size_t> indices_;  ///< in it, by name
};

}  // namespace

std::vector<EnvLine> parse_env_file(std::string_view text, const std::string& path) {
  return Parser(text, path).parse();
}

EnvDir read_env_dir(const std::string& path, const FileReader& read) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), ::closedir);
  if (!dir) throw Error(errno, "read env folder", path);
  EnvDir result;
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name.starts_with('.') || name.find('=') != std::string::npos) continue;
    const std::string text = read(fmt::format("{}/{}", path, name));
    if (text.empty()) {
      result.unset.push_back(name);
      errno = 0;
      continue;
    }
    std::string value = text.substr(0, text.find('\n'));
    value.erase(value.find_last_not_of(" \t") + 1);
    std::replace(value.begin(), value.end(), '\0', '\n');
    result.variables.push_back({name, std::move(value)});
    errno = 0;
  }
  if (errno != 0) throw Error(errno, "read env folder", path);
  std::sort(result.variables.begin(), result.variables.end(),
            [](const Variable& a, const Variable& b) { return a.name < b.name; });
  return result;
}

bool is_dangerous(std::string_view name) {
  constexpr std::array kNames = {"BASH_ENV",
                                 "ENV",
                                 "IFS",
                                 "PYTHONSTARTUP",
                                 "PYTHONHOME",
                                 "PYTHONPATH",
                                 "PERL5OPT",
                                 "PERL5LIB",
                                 "PERL5DB",
                                 "NODE_OPTIONS",
                                 "RUBYOPT",
                                 "RUBYLIB",
                                 "PATH",
                                 "GCONV_PATH",
                                 "GIT_SSH_COMMAND",
                                 "GIT_EXEC_PATH",
                                 "BUNDLE_GEMFILE",
                                 "BUNDLE_PATH",
                                 "BUNDLE_APP_CONFIG",
                                 "GEM_HOME",
                                 "GEM_PATH",
                                 "GUNICORN_CMD_ARGS",
                                 "NODE_PATH",
                                 "SHELLOPTS",
                                 "PS4",
                                 "OPENSSL_CONF",
                                 "JAVA_TOOL_OPTIONS",
                                 "HOME"};
  return is_protocol(name) || name.starts_with("GIT_CONFIG") || name.starts_with("LD_") ||
         name.starts_with("BASH_FUNC_") || name.starts_with("DROVER_") ||
         std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

}  // namespace drover::environ
