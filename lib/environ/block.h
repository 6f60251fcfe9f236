// An environment: names and values. Both are bytes; nothing here decodes them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace drover::environ {

struct Variable {
  std::string name;
  std::string value;
  friend bool operator==(const Variable&, const Variable&) = default;
};

class Block {
 public:
  Block() = default;
  /// Reads an environ(7) array. What has no "=" or no name is dropped, and of several with one name
  /// the first counts, as for getenv(3): bash takes the last, so that a value which was checked
  /// could differ from the one that is used.
  explicit Block(const char* const* environment);
  /// The same of what /proc/PID/environ holds: strings that end with a NUL.
  static Block from_proc(std::string_view text);

  /// Null when it is not set. Good until the block is changed.
  [[nodiscard]] const std::string* find(std::string_view name) const noexcept;
  /// Its value; empty when it is not set.
  [[nodiscard]] std::string value(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const noexcept { return find(name) != nullptr; }
  void set(std::string_view name, std::string value);
  /// Whether it was there.
  bool unset(std::string_view name);

  /// In the order of their names: what is handed on does not depend on the order that came.
  [[nodiscard]] const std::map<std::string, std::string, std::less<>>& variables() const noexcept {
    return variables_;
  }
  /// What the environ(7) array of a program needs. Throws Error (E2BIG) that names the variable
  /// when one is longer than the kernel takes: 131072 bytes with its name, "=" and NUL (execve(2)).
  [[nodiscard]] std::vector<std::string> strings() const;

 private:
  void add(std::string_view entry);

  std::map<std::string, std::string, std::less<>> variables_;
};

}  // namespace drover::environ
