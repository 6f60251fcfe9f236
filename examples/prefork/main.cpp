// prefork: a small preforking HTTP server that reloads itself without losing a request.
#include <fmt/core.h>

#include <cstdlib>

#include "examples/prefork/log.h"
#include "examples/prefork/master.h"
#include "lib/cli/program.h"

namespace {

using namespace drover;
using namespace drover::prefork;

const cli::Description kDescription{
    .name = "prefork",
    .synopsis = "[OPTIONS]",
    .summary = "A preforking HTTP server that hot-reloads, to read and to test with.",
    .examples = {"prefork --listen 127.0.0.1:8080 --workers 4 --pidfile app.pid",
                 "prefork --listen unix:/run/app.sock --daemonize --log app.log",
                 "kill -USR2 $(cat app.pid) && kill -QUIT $(cat app.pid.oldbin)"},
    .more = "examples/prefork/README.md",
};

struct Arguments {
  Settings settings;
  std::optional<std::chrono::nanoseconds> timeout;
  std::vector<std::string> faults;
  std::string fault_file;
};

void add_options(cli::Options& options, Arguments& arguments) {
  auto& app = options.app();
  Settings& settings = arguments.settings;
  app.add_option("--listen", settings.addresses,
                 "HOST:PORT or unix:PATH; several are allowed (127.0.0.1:8080)")
      ->type_name("ADDRESS")
      ->take_all();
  app.add_option("--workers", settings.workers, "How many workers (2)")
      ->type_name("N")
      ->check(CLI::Range(1, kMostWorkers));
  options.add_duration("--timeout", arguments.timeout,
                       "Kill a worker whose request takes longer (30s)");
  app.add_option("--pidfile", settings.pidfile, "The master's process number")->type_name("FILE");
  app.add_option("--log", settings.log, "Write there and not to standard error")->type_name("FILE");
  app.add_flag("--daemonize", settings.daemonize,
               "Go into the background; exit when every worker is up");
  app.add_flag("--keep-alive", settings.keep_alive,
               "Several requests for each connection, while nobody else waits");
  app.add_option("--preload-mb", settings.preload_mb, "Memory that the workers share")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 16));
  app.add_option("--reply", settings.reply, "The body of answers")->type_name("TEXT");
  app.add_option("--fault", arguments.faults,
                 "slow-boot=SECONDS boot-failure hang-boot worker-failure crash-workers "
                 "ignore-quit close-descriptors close-all-descriptors leak-child; with @N from the "
                 "N-th reload "
                 "on; reload-failure is boot-failure@1")
      ->type_name("FAULT")
      ->take_all();
  app.add_option("--fault-file", arguments.fault_file, "Faults, read at each boot")
      ->type_name("FILE");
}

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  cli::Options options(kDescription);
  add_options(options, arguments);
  if (!options.parse(argc, argv)) return false;
  Settings& settings = arguments.settings;
  if (settings.addresses.empty()) settings.addresses = {"127.0.0.1:8080"};
  if (arguments.timeout)
    settings.timeout = std::chrono::duration_cast<Clock::duration>(*arguments.timeout);
  if (settings.timeout <= Clock::duration::zero())
    throw cli::UsageError("--timeout must be longer than 0");
  for (std::string* path : {&settings.pidfile, &settings.log})
    if (!path->empty()) *path = os::absolute(*path);
  return true;
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  const Start start = remember_start(argc, argv);
  Inheritance inheritance = take_inheritance();
  const Faults faults(
      collect_faults(arguments.faults, std::getenv("PREFORK_FAULT"), arguments.fault_file),
      inheritance.generation);
  Title title(argc, argv);

  Launcher launcher;
  if (arguments.settings.daemonize && inheritance.generation == 0) {
    auto in_background = daemonize();
    if (!in_background) return cli::kDone;
    launcher = std::move(*in_background);
  }
  try {
    log_to(arguments.settings.log);
  } catch (const Error& error) {
    launcher.failed(error.what());
    throw;
  }
  Master(arguments.settings, start, std::move(inheritance), faults, title, std::move(launcher))
      .run();
  return cli::kDone;
}

}  // namespace

int main(int argc, char** argv) {
  cli::run_main(kDescription, [&] { return run(argc, argv); });
}
