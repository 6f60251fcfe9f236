#include "lib/config/toml.h"

#include <fmt/core.h>

#include <cerrno>

#include "lib/os/error.h"

namespace drover::config {

void toml_assertion_failed(const char* expression) { throw TomlAssertion(expression); }

toml::table parse_toml(std::string_view text, const std::string& path, const char* tried) {
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
