#include "lib/os/error.h"

#include <fmt/core.h>

namespace drover {
namespace {

std::string compose(std::string_view tried, const std::optional<std::string_view>& subject,
                    std::string_view reason) {
  if (!subject) return fmt::format("cannot {}: {}", tried, reason);
  return fmt::format("cannot {} '{}': {}", tried, *subject, reason);
}

}  // namespace

Error::Error(int err, std::string message, std::string hint, int)
    : std::system_error(err, std::generic_category()),
      message_(std::move(message)),
      hint_(std::move(hint)) {}

Error::Error(int err, std::string_view tried, std::optional<std::string_view> subject,
             std::string hint)
    : Error(err, compose(tried, subject, std::generic_category().message(err)), std::move(hint),
            0) {}

Error Error::because(int err, std::string_view tried, std::optional<std::string_view> subject,
                     std::string_view reason, std::string hint) {
  return {err, compose(tried, subject, reason), std::move(hint), 0};
}

}  // namespace drover
