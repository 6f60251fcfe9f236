// drover-doctor: start a server, reload it once, stop it, and say what it would lose.
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <signal.h>

#include <cstdlib>
#include <optional>

#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/flock/hold.h"
#include "lib/herd/checkup.h"
#include "lib/os/fd.h"
#include "tools/doctor_output.h"

namespace drover {
namespace {

const cli::Description kDescription{
    .name = "drover-doctor",
    .synopsis = "[OPTIONS] --pidfile PIDFILE [--] COMMAND [ARG...]",
    .summary = "Start a server, hot-reload it once, stop it: what would be lost, and the cure.",
    .examples = {"drover-doctor --pidfile /run/app/app.pid unicorn -D -c unicorn.rb",
                 "drover-doctor -q -p app.pid bundle exec puma -C puma.rb || echo 'see above'"},
    .quiet = "Write findings only",
    .verbose = "Pass on what the server writes, too",
};

using Duration = std::optional<std::chrono::nanoseconds>;

struct Arguments {
  herd::CheckupRequest checkup;
  std::optional<std::string> pidfile;
  Duration boot, ready;
  bool json = false;
};

const herd::Dialect* read_dialect(const std::string& name) {
  if (name == "auto") return nullptr;
  if (const herd::Dialect* dialect = herd::find_dialect(name)) return dialect;
  std::vector<std::string_view> names{"auto"};
  for (const herd::Dialect& each : herd::dialects())
    names.push_back(each.name);
  throw CLI::ValidationError(fmt::format("'{}' is none of {}", name, fmt::join(names, ", ")));
}

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  cli::Options options(kDescription);
  auto& app = options.app();
  herd::CheckupRequest& checkup = arguments.checkup;
  options.stop_at_first_word();
  app.add_option("-p,--pidfile", arguments.pidfile, "Where the server writes its master's number")
      ->type_name("PIDFILE")
      ->check(cli::is_pidfile_name());
  app.add_option_function<std::string>(
         "--dialect", [&](const std::string& name) { checkup.dialect = read_dialect(name); },
         "How it hot-reloads: unicorn, gunicorn, nginx, puma ... (auto)")
      ->type_name("NAME");
  options.add_duration("-t,--boot-timeout", arguments.boot, "How long the start may take (30s)");
  options.add_duration("--ready-timeout", arguments.ready,
                       "How long workers may take to serve (60s)");
  app.add_flag("--json", arguments.json, "Write one JSON object");
  if (!options.parse(argc, argv)) return false;
  checkup.command = options.words();
  if (!checkup.command.empty() && checkup.command[0].starts_with('-')) {
    if (checkup.command[0] != "--")
      throw cli::UsageError(fmt::format("'{}' is no option", checkup.command[0]));
    checkup.command.erase(checkup.command.begin());
  }
  if (checkup.command.empty()) throw cli::UsageError("a COMMAND is needed");
  if (!arguments.pidfile) throw cli::UsageError("--pidfile PIDFILE is needed");
  checkup.pidfile = os::absolute(*arguments.pidfile);
  checkup.boot_timeout = arguments.boot.value_or(checkup.boot_timeout);
  checkup.ready_timeout = arguments.ready.value_or(checkup.ready_timeout);
  return true;
}

/// What the surroundings say; the library asks nobody.
void look_around(herd::CheckupRequest& checkup) {
  const auto value = [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text == nullptr ? "" : text);
  };
  checkup.search_path = value("PATH");
  checkup.pwd = value("PWD");
  checkup.scratch = value("TMPDIR");
  if (checkup.scratch.empty()) checkup.scratch = "/tmp";
  checkup.first_free = flock::first_free_descriptor(std::getenv("LISTEN_FDS"));
  checkup.show_output = cli::verbosity() == cli::Verbosity::verbose;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &checkup.mask);
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  look_around(arguments.checkup);
  if (const std::string sign = herd::sign_of_life(arguments.checkup.pidfile); !sign.empty()) {
    cli::say(cli::Level::error, fmt::format("cannot try '{}': the service runs: {}",
                                            arguments.checkup.command[0], sign));
    cli::say(cli::Level::error,
             "hint: stop it, or give the server a configuration and a PIDFILE of its own for this");
    return cli::kTryLater;
  }
  const herd::CheckupReport report = herd::check_up(arguments.checkup);
  const bool findings_only = cli::verbosity() == cli::Verbosity::quiet;
  fmt::print("{}", arguments.json ? doctor::as_json(report, arguments.checkup, findings_only)
                                  : doctor::as_text(report, findings_only));
  if (report.interrupted_by != 0) return 128 + report.interrupted_by;
  return report.has_findings() ? cli::kNo : cli::kDone;
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::run_main(drover::kDescription, [&] { return drover::run(argc, argv); });
}
