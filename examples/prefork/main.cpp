// prefork: a small preforking HTTP server that reloads itself without losing a request.
#include <chrono>
#include <cstdlib>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/prefork/daemonize.h"
#include "examples/prefork/faults.h"
#include "examples/prefork/log.h"
#include "examples/prefork/master.h"
#include "examples/prefork/reexec.h"
#include "examples/prefork/settings.h"
#include "examples/prefork/title.h"
#include "lib/cli/program.h"
#include "lib/os/fd.h"

namespace {

using namespace drover;
using namespace drover::prefork;

const cli::Description kDescription{
    .name = "prefork",
    .synopsis = "[OPTIONS]",
    .summary = "A preforking HTTP server that hot-reloads, to read and to test with.",
    .examples = {"prefork --listen 127.0.0.1:8080 --workers 4 --pidfile app.pid",
                 "prefork --listen unix:/run/app.sock --daemonize --log app.log",
                 "kill -USR2 $(cat app.pid)  # then, when the new one answers:",
                 "kill -QUIT $(cat app.pid.oldbin)"},
    .more = "examples/prefork/README.md",
    .quiet = "Log nothing but what goes wrong",
    .verbose = "Log each answer, too",
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
               "Several requests for each connection; an idle one is closed after 2s, or 0.5s once "
               "somebody waits");
  app.add_option("--preload-mb", settings.preload_mb, "Memory that the workers share")
      ->type_name("N")
      ->check(CLI::Range(0, 1 << 16));
  app.add_option("--reply", settings.reply, "The body of answers")->type_name("TEXT");
  app.add_option("--fault", arguments.faults,
                 "Break this release, such as reload-failure; the README has the names")
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
  return true;
}

/// Names the file for good: a successor starts in the folder of another release. Of an option that
/// is given twice the second one counts.
void fix_path(const char* option, std::string& path, Start& start) {
  if (path.empty() || path.starts_with('/')) return;
  path = os::absolute(path);
  start.arguments.insert(start.arguments.end(), {option, path});
}

Start remember_start_with(Arguments& arguments, int argc, char** argv) {
  Start start = remember_start(argc, argv);
  fix_path("--pidfile", arguments.settings.pidfile, start);
  fix_path("--log", arguments.settings.log, start);
  fix_path("--fault-file", arguments.fault_file, start);
  return start;
}

/// False in the process that was called: the server is another one by then, and up.
bool launch_in_background(Launcher& launcher) {
  auto in_background = daemonize();
  if (!in_background) return false;
  launcher = std::move(*in_background);
  return true;
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  // Before Title, which overwrites argv.
  const Start start = remember_start_with(arguments, argc, argv);
  // Before Title copies the environment: these variables are not for the children.
  Inheritance inheritance = take_inheritance();
  const Faults faults(
      collect_faults(arguments.faults, std::getenv("PREFORK_FAULT"), arguments.fault_file),
      inheritance.generation);
  Title title(argc, argv);

  Launcher launcher;
  // Before Master, whose children and pidfile belong to this process number. A successor is in the
  // background already.
  if (arguments.settings.daemonize && inheritance.generation == 0 &&
      !launch_in_background(launcher))
    return cli::kDone;
  try {
    log_to(arguments.settings.log);
    Master(arguments.settings, start, std::move(inheritance), faults, title, launcher).run();
  } catch (const std::exception& error) {
    launcher.failed(error.what());
    throw;
  }
  return cli::kDone;
}

}  // namespace

int main(int argc, char** argv) {
  cli::run_main(kDescription, [&] { return run(argc, argv); });
}
