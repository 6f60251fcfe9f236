#include "lib/environ/toml.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

#include "lib/os/error.h"

namespace drover::environ {
namespace {

/// The offset behind the string that begins at `at`; of one that is not closed, the end.
size_t skip_string(std::string_view text, size_t at) {
  const char quote = text[at];
  const std::string triple(3, quote);
  const bool is_long = text.substr(at, 3) == triple;
  for (at += is_long ? 3 : 1; at < text.size(); ++at) {
    if (quote == '"' && text[at] == '\\') {
      ++at;
    } else if (is_long ? text.substr(at, 3) == triple : text[at] == quote || text[at] == '\n') {
      return at + (is_long ? 3 : 1);
    }
  }
  return text.size();
}

/// Whether a key or a value, and so a string, can begin behind this text.
bool may_begin(std::string_view before) {
  const auto last = before.find_last_not_of(" \t");
  return last == std::string_view::npos ||
         std::string_view("\r\n=[{,.").find(before[last]) != std::string_view::npos;
}

/// The offset of a character that is not ASCII behind a backslash and blanks: in such a place
/// toml++ 3.3 takes some of them for impossible, as below.
size_t find_stray_in_string(std::string_view text) {
  for (auto at = text.find('\\'); at != std::string_view::npos; at = text.find('\\', at)) {
    const auto next = text.find_first_not_of(" \t\r\n", at + 1);
    if (next == std::string_view::npos) break;
    if (static_cast<unsigned char>(text[next]) >= 0x80) return next;
    at += 2;
  }
  return std::string_view::npos;
}

/// The offset of a character that TOML allows only in strings and comments, standing elsewhere.
/// toml++ 3.3 takes some of them for impossible, and its behaviour is undefined then.
size_t find_stray_character(std::string_view text) {
  for (size_t at = text.starts_with("\xEF\xBB\xBF") ? 3 : 0; at < text.size();) {
    const char c = text[at];
    if (static_cast<unsigned char>(c) >= 0x80) return at;
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
    } else if ((c == '"' || c == '\'') && may_begin(text.substr(0, at))) {
      const size_t end = std::min(skip_string(text, at), text.size());
      const size_t stray =
          c == '"' ? find_stray_in_string(text.substr(at, end - at)) : std::string_view::npos;
      if (stray != std::string_view::npos) return at + stray;
      at = end;
    } else {
      ++at;
    }
  }
  return std::string_view::npos;
}

}  // namespace

void toml_assertion_failed(const char* expression) { throw TomlAssertion(expression); }

toml::table parse_toml(std::string_view text, const std::string& path, const char* tried) {
  const size_t stray = find_stray_character(text);
  if (stray != std::string_view::npos)
    throw Error::because(
        EBADMSG, tried,
        fmt::format("{}:{}", path,
                    1 + std::count(text.begin(), text.begin() + static_cast<long>(stray), '\n')),
        "a character that is not ASCII stands outside of quotes, or behind a \"\\\\\"");
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw Error::because(EBADMSG, tried, fmt::format("{}:{}", path, error.source().begin.line),
                         error.description(), "values are TOML: texts stand in quotes");
  } catch (const TomlAssertion&) {
    throw Error::because(EBADMSG, tried, path, "it is no TOML");
  }
}

}  // namespace drover::environ
