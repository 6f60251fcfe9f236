// toml++ as drover uses it: the only place that includes it.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace drover::environ {

/// Thrown where toml++ asserts.
class TomlAssertion : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};
[[noreturn]] void toml_assertion_failed(const char* expression);

}  // namespace drover::environ

// Texts can be written that break an assertion of toml++ 3.3 ("[@"), which in a release build would
// be undefined behaviour: in every build it becomes an exception.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : drover::environ::toml_assertion_failed(#expression))
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace drover::environ {

/// Throws Error (EBADMSG), "cannot TRIED 'PATH:LINE'", when the text is no TOML.
toml::table parse_toml(std::string_view text, const std::string& path, const char* tried);

}  // namespace drover::environ
