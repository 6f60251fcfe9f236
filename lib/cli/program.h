// What every program shares: options by CLI11 in one form of help, and one place that turns what
// was thrown into a line and an exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/cli/exit_codes.h"
#include "lib/os/error.h"

namespace drover::cli {

/// A wrong command line: kUsage, or kWrapperFailed in a program that becomes a command.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Description {
  std::string name;
  std::string synopsis;  ///< what follows the name in the usage line
  std::string summary;
  std::vector<std::string> examples;
  bool wrapper = false;   ///< its exit codes are the command's, its own failures are 125
  std::string more = {};  ///< where more is written; empty for its man page
  std::string quiet = "Say nothing but errors and warnings";  ///< what -q does
  std::string verbose = "Say each step";                      ///< what -v does
};

/// For options whose value is a name: an unset variable is no name.
CLI::Validator not_empty();
/// The same for a pidfile, which is not the lock beside it.
CLI::Validator is_pidfile_name();
/// For options whose value is a decimal number: CLI11 would read "075" as octal, "0x4b" as hex.
/// Goes with ->transform().
CLI::Validator decimal();

/// The options of one program: -h, --help, --version, -q and -v are there already.
class Options {
 public:
  explicit Options(Description description);

  /// For add_option and add_flag. An option with an empty group is not in --help.
  CLI::App& app() { return app_; }
  /// An option with a duration as its value.
  CLI::Option* add_duration(const std::string& names,
                            std::optional<std::chrono::nanoseconds>& value,
                            const std::string& text);
  /// Options end at the first word that is none; what follows is in words().
  void stop_at_first_word() { app_.prefix_command(); }
  /// The words that are no options, with stop_at_first_word().
  [[nodiscard]] std::vector<std::string> words() const { return app_.remaining(); }

  /// Names may stand among the options; they are in names(), taken literally: as the values of an
  /// option CLI11 would read "[a,b]" as two.
  void allow_names() { app_.allow_extras(); }
  /// Throws UsageError when one of them looks like an option and does not follow "--".
  [[nodiscard]] std::vector<std::string> names() const;

  /// Reads the command line. False when --help or --version was asked for and has been printed.
  /// Throws UsageError.
  bool parse(int argc, char** argv);

 private:
  [[nodiscard]] std::string help() const;
  /// CLI11 would take the next word for the value of "--name=".
  void refuse_empty_values(int argc, char** argv) const;

  Description description_;
  CLI::App app_;
};

/// Runs `body`, prints what it throws as one line, and ends the process with its exit code. Opens
/// /dev/null in place of closed standard streams, so that no file of ours takes their numbers; it
/// is close-on-exec, and a command finds them closed again.
[[noreturn]] void run_main(const Description& description, const std::function<int()>& body);

}  // namespace drover::cli
