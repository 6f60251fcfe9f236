// Values out of a TOML file that a person has written: strictly of the wanted type, and whatever is
// wrong is said with the file and the line.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "lib/config/toml.h"

namespace drover::config {

/// The values of one file. Every function throws Error (EBADMSG), "cannot TRIED 'FILE:LINE': WHY".
class Values {
 public:
  Values(std::string file, const char* tried) : file_(std::move(file)), tried_(tried) {}

  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  /// What refusals are about from now on, such as a key; empty for nothing.
  void set_subject(std::string subject) { subject_ = std::move(subject); }
  /// "FILE:LINE"
  [[nodiscard]] std::string origin(const toml::node& node) const;
  [[noreturn]] void refuse(const toml::node& node, const std::string& why) const;
  /// Without the subject. For a key that is none of `known`: names the one that is probably meant.
  [[noreturn]] void refuse_key(const toml::node& node, const std::string& key,
                               const std::vector<std::string>& known) const;

  /// Without a NUL.
  [[nodiscard]] std::string text(const toml::node& node) const;
  /// One text, or a list of them.
  [[nodiscard]] std::vector<std::string> texts(const toml::node& node) const;
  /// The words of a command: a text is one word, it is not split as a shell would.
  [[nodiscard]] std::vector<std::string> command(const toml::node& node) const;
  [[nodiscard]] bool flag(const toml::node& node) const;
  [[nodiscard]] int64_t integer(const toml::node& node, int64_t least, int64_t most) const;
  [[nodiscard]] double number(const toml::node& node, double least, double most) const;
  /// A number of seconds, or a text such as "250ms".
  [[nodiscard]] std::chrono::nanoseconds duration(const toml::node& node) const;
  /// A mask or a mode, as "0027".
  [[nodiscard]] mode_t octal(const toml::node& node) const;
  [[nodiscard]] const toml::table& table(const toml::node& node) const;

  template <class Value>
  [[nodiscard]] Value one_of(const toml::node& node,
                             std::initializer_list<std::pair<const char*, Value>> values) const {
    const std::string value = text(node);
    std::string all;
    for (const auto& [name, meaning] : values) {
      if (value == name) return meaning;
      all += (all.empty() ? "\"" : ", \"") + std::string(name) + "\"";
    }
    refuse(node, "'" + value + "' is none of " + all);
  }

 private:
  std::string file_;
  const char* tried_;
  std::string subject_;
};

/// Whether an environment may have a variable of this name.
bool is_variable_name(std::string_view name);

}  // namespace drover::config
