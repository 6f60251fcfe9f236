// What is said over a control socket: JSON objects, one a line. A request is one object with a
// "command"; the answer is any number of objects with an "event" and one last object with "ok".
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace drover::control {

/// Members stay in the order in which they were written.
using Json = nlohmann::ordered_json;

inline constexpr int kVersion = 1;

/// The other side asked for what cannot be done; nothing has happened. Its `code` is for programs:
/// "usage", "too_long", "not_allowed", "busy", "late", "failed", "internal".
class Refused : public std::runtime_error {
 public:
  Refused(std::string code, const std::string& reason)
      : std::runtime_error(reason), code_(std::move(code)) {}
  [[nodiscard]] const std::string& code() const noexcept { return code_; }

 private:
  std::string code_;
};

/// {"ok":false,"code":...,"reason":...}
Json refusal(std::string_view code, std::string_view reason);

/// An object on a line of its own, "v" first; bytes that are no UTF-8 become U+FFFD.
std::string as_line(const Json& object);

struct Bounds {
  size_t depth = 16;     ///< of objects and lists within each other
  size_t values = 1000;  ///< in the whole line, names included
};
inline constexpr Bounds kAnswerBounds{.depth = 64, .values = 1 << 20};

/// Reads an object strictly: the whole line, UTF-8, no name twice in an object, within the bounds,
/// "v" (when given) being 1. Throws Refused, "usage".
Json parse_object(std::string_view line, const Bounds& bounds = {});

/// A request whose `command` is there and a text that is not empty.
struct Request {
  std::string command;
  Json members;  ///< the object as it came

  /// A text that is not empty. Empty when the member is not there, or null. Throws Refused when it
  /// is something else, as the others do.
  [[nodiscard]] std::optional<std::string> text(const std::string& name) const;
  /// Refused also when it is not there.
  [[nodiscard]] std::string required_text(const std::string& name) const;
  /// An integer from 0.
  [[nodiscard]] std::optional<uint64_t> number(const std::string& name) const;
  /// False when it is not there.
  [[nodiscard]] bool flag(const std::string& name) const;
};

/// Throws Refused, "usage".
Request parse_request(std::string_view line);
/// For a handler to throw.
Refused unknown_command(const Request& request);

}  // namespace drover::control
