#include "lib/config/toml.h"

#include <fmt/core.h>

#include <cerrno>

#include "lib/os/error.h"

namespace drover::config {

void toml_assertion_failed(const char* expression) { throw TomlAssertion(expression); }

namespace {

/// toml++ goes down one call for each part of a dotted key.
constexpr int kMostParts = 1000;

bool has_endless_key(std::string_view text) {
  int dots = 0;
  for (const char c : text) {
    if (c == '.') ++dots;
    if (c == '\n' || c == '=' || c == ',' || c == '{' || c == '"' || c == '\'') dots = 0;
    if (dots > kMostParts) return true;
  }
  return false;
}

}  // namespace

toml::table parse_toml(std::string_view text, const std::string& path, const char* tried) {
  if (has_endless_key(text))
    throw Error::because(EBADMSG, tried, path,
                         fmt::format("a key has more than {} parts", kMostParts));
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw Error::because(EBADMSG, tried, fmt::format("{}:{}", path, error.source().begin.line),
                         error.description(), "values are TOML: texts stand in quotes");
  } catch (const TomlAssertion&) {
    throw Error::because(EBADMSG, tried, path, "it is no TOML");
  }
}

}  // namespace drover::config
