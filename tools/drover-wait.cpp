// drover-wait: block until every holder of a lock has exited; on the way, pass signals to the
// master.
#include <fmt/core.h>

#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/flock/watch.h"
#include "lib/herd/relay.h"
#include "lib/os/fd.h"
#include "lib/os/signals.h"

namespace drover {
namespace {

const cli::Description kDescription{
    .name = "drover-wait",
    .synopsis = "[OPTIONS] LOCK...",
    .summary = "Block until no process holds LOCK any more. Idle means idle: no polling.",
    .examples = {"drover-wait /run/app/app.pid.lock",
                 "drover-wait -w 30s --start 5s app.pid.lock || echo 'still up, or never came'",
                 "exec drover-wait --relay app.pid --stop-signal QUIT app.pid.lock"},
    .verbose = "Say how the masters ended, too",
};

struct Arguments {
  flock::WaitRequest wait;
  std::optional<std::chrono::nanoseconds> limit;
  int held_code = cli::kNo;
  std::optional<std::string> pidfile;  ///< of --relay
  std::optional<std::string> service;  ///< of --pidfile
  herd::RelayRequest relay;
};

int read_signal(const std::string& text) {
  const auto number = os::parse_signal(text);
  if (!number) throw CLI::ValidationError(fmt::format("'{}' is no signal", text));
  return *number;
}

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  cli::Options options(kDescription);
  auto& app = options.app();
  options.add_duration("-w,--timeout", arguments.limit, "Give up after TIME");
  app.add_option("-E,--conflict-exit-code", arguments.held_code,
                 "Exit with CODE when LOCK is still held at the limit (1)")
      ->type_name("CODE")
      ->transform(cli::decimal())
      ->check(CLI::Range(0, 255));
  options.add_duration("--start", arguments.wait.watch.start,
                       "Wait up to TIME for the first holder");
  options.add_duration("--grace", arguments.wait.watch.grace,
                       "After the last holder, leave a successor TIME to take LOCK");
  app.add_flag("--any", arguments.wait.any, "Return when the first LOCK is free, and print it");
  auto* relay =
      app.add_option("--relay", arguments.pidfile,
                     "Pass TERM INT QUIT HUP USR1 USR2 TTIN TTOU to the master named by PIDFILE");
  relay->type_name("PIDFILE")->check(cli::is_pidfile_name());
  auto* service = app.add_option("--pidfile", arguments.service, "PIDFILE.lock is a LOCK");
  service->type_name("PIDFILE")->check(cli::is_pidfile_name());
  app.add_option_function<std::string>(
         "--stop-signal",
         [&](const std::string& text) { arguments.relay.stop_signal = read_signal(text); },
         "Pass TERM on as SIG")
      ->type_name("SIG");
  app.add_flag("--winch", arguments.relay.winch, "Pass WINCH on, too");
  options.allow_names();
  if (!options.parse(argc, argv)) return false;
  for (const auto* option : {relay, service})
    if (option->count() > 1)
      throw cli::UsageError(fmt::format("{} is given more than once", option->get_name()));

  arguments.wait.paths = options.names();
  if (arguments.service) arguments.wait.paths.push_back(*arguments.service + ".lock");
  if (arguments.pidfile && arguments.wait.paths.empty())
    arguments.wait.paths.push_back(*arguments.pidfile + ".lock");
  if (arguments.wait.paths.empty()) throw cli::UsageError("at least one LOCK is needed");
  if (arguments.pidfile && arguments.wait.paths.size() > 1)
    throw cli::UsageError("--relay goes with one LOCK");
  if (!arguments.pidfile && (arguments.relay.winch || arguments.relay.stop_signal != SIGTERM))
    throw cli::UsageError("--stop-signal and --winch go with --relay");
  if (arguments.limit)
    arguments.wait.limit =
        std::chrono::steady_clock::now() +
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(*arguments.limit);
  return true;
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  std::optional<os::RaisedDescriptorLimit> raised;  // a descriptor for each lock
  if (arguments.wait.paths.size() > 1) raised.emplace();
  ::signal(SIGPIPE, SIG_IGN);  // a reader of our messages that has gone must not end the wait
  const auto notice = [](const std::string& text) { cli::say(cli::Level::notice, text); };
  flock::WaitResult result;
  if (arguments.pidfile) {
    arguments.relay.pidfile = *arguments.pidfile;
    arguments.relay.wait = arguments.wait;
    const auto warning = [](const std::string& text) { cli::say(cli::Level::warning, text); };
    const herd::RelayResult relayed = herd::wait_and_relay(arguments.relay, notice, warning);
    if (relayed.stopped_by != 0) return 128 + relayed.stopped_by;
    result = relayed.wait;
  } else {
    arguments.wait.watch.report = cli::verbosity() == cli::Verbosity::verbose;
    result = flock::wait(arguments.wait, notice);
  }
  if (!result.gone) {
    cli::say(cli::Level::notice, "still held at the time limit");
    return arguments.held_code;
  }
  if (arguments.wait.any) fmt::print("{}\n", result.path);
  return cli::kDone;
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::run_main(drover::kDescription, [&] { return drover::run(argc, argv); });
}
