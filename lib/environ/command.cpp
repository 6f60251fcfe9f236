#include "lib/environ/command.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/environ/edit.h"
#include "lib/environ/small_file.h"
#include "lib/os/spawn.h"

namespace drover::environ {
namespace {

/// 0 when it can be executed, else an errno value.
int why_not(const std::string& path, const std::vector<os::FileId>& not_these) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return errno;
  if (std::find(not_these.begin(), not_these.end(), os::id_of(st)) != not_these.end())
    return ENOENT;
  if (!S_ISREG(st.st_mode)) return EACCES;
  return ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

std::string beginning_of(const std::string& path) {
  const os::Fd file = os::try_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  std::string text(256, '\0');
  const ssize_t size = file ? ::read(file.get(), text.data(), text.size()) : 0;
  text.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return text;
}

}  // namespace

std::string find_program(const std::string& name, std::string_view path, const std::string& folder,
                         const std::vector<os::FileId>& not_these) {
  int err = ENOENT;
  if (name.find('/') != std::string::npos) {
    const std::string full = name.starts_with('/') ? name : folder + "/" + name;
    if (full == name || !folder.empty()) err = why_not(full, not_these);
    if (err == 0) return full;
  } else if (!name.empty()) {
    for (const auto& part : split_list(path)) {
      const std::string candidate = fmt::format("{}/{}", part, name);
      const int reason = why_not(candidate, not_these);
      if (reason == 0) return candidate;
      if (reason == EACCES) err = EACCES;
    }
  }
  throw os::ExecError(err, name);
}

bool has_format(const std::string& path) {
  const std::string start = beginning_of(path);
  return start.starts_with("#!") || start.starts_with(
                                        "\x7f"
                                        "ELF");
}

std::string interpreter_line(const std::string& path) {
  const std::string text = beginning_of(path);
  const std::string_view start = text;
  if (!start.starts_with("#!")) return {};
  return std::string(trimmed(start.substr(2, start.find('\n') - 2)));
}

std::string interpreter_of_script(const std::string& path) {
  const std::string line = interpreter_line(path);
  return line.substr(0, line.find_first_of(" \t"));
}

std::string interpreter_word(const std::string& path) {
  const std::string line = interpreter_line(path);
  std::string_view rest = line;
  std::string_view word;
  do {
    rest = trimmed(rest);
    word = first_word(rest);
    rest.remove_prefix(word.size());
  } while (word.substr(word.rfind('/') + 1) == "env" || word.starts_with('-') ||
           word.find('=') != std::string_view::npos);
  return std::string(word);
}

bool is_ruby_script(const std::string& path) {
  const std::string word = interpreter_word(path);
  const auto program = std::string_view(word).substr(word.rfind('/') + 1);
  return program.starts_with("ruby") &&
         program.substr(4).find_first_not_of("0123456789.") == std::string_view::npos;
}

// With Bundler every gem of the bundle is loaded here, so that its own program is found, also one
// that no folder of PATH has.
#define DROVER_FIND_SCRIPT                                                    \
  "gem = Gem.loaded_specs.values.find { |g| g.executables.include?(name) }; " \
  "own = gem && gem.bin_file(name); script = own if own && File.file?(own); "

const char* const kFind = "name, script = ARGV; " DROVER_FIND_SCRIPT
                          "abort \"'#{name}': neither the bundle nor PATH has it\" if "
                          "script.to_s.empty?";

std::vector<std::string> loading_words(const std::string& title, const std::string& name,
                                       const std::string& script) {
  constexpr const char* kLoad = "title, name, script = ARGV.shift(3); " DROVER_FIND_SCRIPT
                                "if script.empty? then "
                                "warn \"drover-exec: cannot run '#{name}': neither the bundle nor "
                                "PATH has it\"; exit 127 end; "
                                "$0 = title.empty? ? script : title; load script";
  return {"-e", kLoad, "--", title, name, script};
}

}  // namespace drover::environ
