// A failure of the system, in the form in which a person will read it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace drover {

/// Thrown when a system call (or data from outside) fails. Carries what was tried, on what, and
/// why; `what()` is the finished message without the program's name: "cannot lock '/run/a.lock':
/// ...". Caught once, by cli::run_main, which prints it and picks the exit code from `code()`.
class Error : public std::system_error {
 public:
  /// `err` is an errno value. `tried` completes "cannot ...". `subject` is quoted, also an empty
  /// one.
  Error(int err, std::string_view tried, std::optional<std::string_view> subject = {},
        std::string hint = {});

  /// As above, with `reason` in place of the system's text for `err`.
  static Error because(int err, std::string_view tried, std::optional<std::string_view> subject,
                       std::string_view reason, std::string hint = {});

  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }
  /// What the user can do about it; empty when there is nothing to say.
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }
  [[nodiscard]] int err() const noexcept { return code().value(); }

 private:
  Error(int err, std::string message, std::string hint, int);

  std::string message_;
  std::string hint_;
};

}  // namespace drover
