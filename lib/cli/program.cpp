#include "lib/cli/program.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "lib/cli/message.h"
#include "lib/config/duration.h"
#include "lib/os/spawn.h"
#include "lib/version.h"

namespace drover::cli {
namespace {

constexpr size_t kTextColumn = 26;
constexpr size_t kWidth = 80;

/// `text` broken into lines that start at kTextColumn.
std::string wrap(const std::string& text) {
  std::string lines;
  size_t column = kTextColumn;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (column > kTextColumn && column + 1 + (end - at) > kWidth) {
      lines += '\n' + std::string(kTextColumn, ' ');
      column = kTextColumn;
    } else if (column > kTextColumn) {
      lines += ' ';
      ++column;
    }
    lines.append(text, at, end - at);
    column += end - at;
    at = end + 1;
  }
  return lines;
}

std::string option_line(const CLI::Option& option) {
  std::string names;
  for (const auto& name : option.get_snames())
    names += (names.empty() ? "-" : ", -") + name;
  for (const auto& name : option.get_lnames())
    names += (names.empty() ? "    --" : ", --") + name;
  // Behind the colon CLI11 adds the check's own words.
  const std::string full_type = option.get_type_name();
  const std::string type = full_type.substr(0, full_type.find(':'));
  if (!type.empty() && option.get_items_expected_max() > 0) names += " " + type;
  std::string line = fmt::format("  {:<22}", names);
  if (line.size() >= kTextColumn) {
    line += '\n' + std::string(kTextColumn, ' ');
  } else {
    line.resize(kTextColumn, ' ');
  }
  return line + wrap(option.get_description()) + "\n";
}

/// An open descriptor in the wrong direction: reading or writing fails as it does when it is
/// closed.
void fill_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    (void)!::open("/dev/null", (fd == 0 ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
  }
}

int report(const Error& error, bool wrapper) {
  say(Level::error, error.what());
  if (!error.hint().empty()) say(Level::error, "hint: " + error.hint());
  return wrapper ? kWrapperFailed : exit_code_for(error.err());
}

/// Ends the process without the destructors of static objects: nobody waits for them, but a
/// supervisor waits for the end. Sanitizers report there, so they get it.
[[noreturn]] void finish(int code) {
#if defined(DROVER_SANITIZED)
  std::exit(code);
#else
  std::_Exit(code);
#endif
}

int run_reporting(const Description& description, const std::function<int()>& body) {
  try {
    const int code = body();
    if (std::fflush(stdout) != 0) throw Error(errno, "write to", "standard output");
    return code;
  } catch (const UsageError& error) {
    say(Level::error, error.what());
    say(Level::error, fmt::format("hint: see '{} --help'", description.name));
    return description.wrapper ? kWrapperFailed : kUsage;
  } catch (const os::ExecError& error) {
    (void)report(error, description.wrapper);
    return error.err() == ENOENT || error.err() == ENOTDIR ? kNotFound : kNotExecutable;
  } catch (const Error& error) {
    return report(error, description.wrapper);
  } catch (const std::system_error& error) {  // of a library below us
    say(Level::error, fmt::format("cannot go on: {}", error.code().message()));
    return description.wrapper ? kWrapperFailed : exit_code_for(error.code().value());
  } catch (const std::bad_alloc&) {
    say(Level::error, "cannot go on: out of memory");
    return description.wrapper ? kWrapperFailed : kSystem;
  } catch (const std::exception& error) {
    say(Level::error, fmt::format("cannot go on, please report this: {}", error.what()));
    return description.wrapper ? kWrapperFailed : kBug;
  }
}

}  // namespace

CLI::Validator not_empty() {
  return {[](const std::string& text) { return text.empty() ? "it is empty" : ""; }, ""};
}

CLI::Validator is_pidfile_name() {
  return {[](const std::string& text) {
            if (text.empty()) return "it is empty";
            return text.ends_with(".lock") ? "it is the lock; its PIDFILE is wanted" : "";
          },
          ""};
}

CLI::Validator decimal() {
  return {[](std::string& text) {
            if (text.empty()) return "it is empty";
            if (text.find_first_not_of("0123456789") != std::string::npos)
              return "it is no decimal number";
            text.erase(0, std::min(text.find_first_not_of('0'), text.size() - 1));
            return "";
          },
          ""};
}

Options::Options(Description description)
    : description_(std::move(description)), app_(description_.summary, description_.name) {
  app_.set_help_flag("-h,--help", "Show this help and exit");
  app_.set_version_flag("--version", fmt::format("{} (drover) {}", description_.name, kVersion),
                        "Show the version and exit");
  app_.add_flag_callback(
      "-q,--quiet", [] { set_verbosity(Verbosity::quiet); }, description_.quiet);
  app_.add_flag_callback(
      "-v,--verbose", [] { set_verbosity(Verbosity::verbose); }, description_.verbose);
  app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

CLI::Option* Options::add_duration(const std::string& names,
                                   std::optional<std::chrono::nanoseconds>& value,
                                   const std::string& text) {
  const auto read = [&value](const std::string& word) {
    value = config::parse_duration(word);
    if (!value)
      throw CLI::ValidationError(
          fmt::format("'{}' is no duration, such as 5, 5s, 250ms or 2m", word));
  };
  return app_.add_option_function<std::string>(names, read, text)->type_name("TIME");
}

void Options::refuse_empty_values(int argc, char** argv) const {
  for (int at = 1; at < argc; ++at) {
    const std::string_view word = argv[at];
    const bool is_option = word.size() > 1 && word.front() == '-';
    const auto* before = at > 1 ? app_.get_option_no_throw(argv[at - 1]) : nullptr;
    const bool may_be_value = before != nullptr && before->get_items_expected_max() > 0;
    if (word == "--" || (!is_option && !may_be_value)) return;
    if (word.starts_with("--") && word.ends_with('='))
      throw UsageError(fmt::format("the value of '{}' is empty", word));
  }
}

bool Options::parse(int argc, char** argv) {
  refuse_empty_values(argc, argv);
  for (CLI::Option* option : app_.get_options())
    if (option->get_items_expected_max() == 0) option->disable_flag_override();
  try {
    app_.parse(argc, argv);
    return true;
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", help());
    return false;
  } catch (const CLI::CallForVersion& version) {
    fmt::print("{}\n", version.what());
    return false;
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
}

std::vector<std::string> Options::names() const {
  std::vector<std::string> names;
  bool literal = false;
  for (const std::string& word : app_.remaining()) {
    if (!literal && word == "--") {
      literal = true;
    } else if (!literal && word.size() > 1 && word.front() == '-') {
      throw UsageError(fmt::format("'{}' is no option", word));
    } else {
      names.push_back(word);
    }
  }
  return names;
}

std::string Options::help() const {
  std::string text = fmt::format("Usage: {} {}\n{}\n\nExamples:\n", description_.name,
                                 description_.synopsis, description_.summary);
  for (const auto& example : description_.examples)
    text += "  " + example + "\n";
  text += "\nOptions:\n";
  const auto options = app_.get_options();
  const auto is_common = [](const CLI::Option* option) {
    return option->check_name("--help") || option->check_name("--version") ||
           option->check_name("--quiet") || option->check_name("--verbose");
  };
  for (const CLI::Option* option : options)
    if (!option->get_positional() && !option->get_group().empty() && !is_common(option))
      text += option_line(*option);
  for (const char* name : {"--quiet", "--verbose", "--help", "--version"})
    text += option_line(*app_.get_option(name));
  return text + fmt::format("\nSee {}.\n", description_.more.empty() ? description_.name + "(1)"
                                                                     : description_.more);
}

void run_main(const Description& description, const std::function<int()>& body) {
  fill_standard_streams();
  set_program(description.name);
  finish(run_reporting(description, body));
}

}  // namespace drover::cli
