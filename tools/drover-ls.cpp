// drover-ls: show who holds a lock: the living processes.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/os/fd.h"
#include "tools/ls_output.h"

namespace drover {
namespace {

const cli::Description kDescription{
    .name = "drover-ls",
    .synopsis = "[OPTIONS] LOCK...",
    .summary = "Show which living processes hold LOCK. Exit 0: held, 1: free.",
    .examples = {"drover-ls --tree /run/app/app.pid.lock",
                 "drover-ls --json app.pid.lock | jq '.locks[].descriptions[].holders[].pid'",
                 "drover-ls -q app.pid.lock && echo 'it runs'"},
    .quiet = "Write no table: only the exit status tells",
    .verbose = "Say how many processes could not be inspected, too",
};

struct Arguments {
  std::vector<std::string> paths;
  ls::Style style;
  bool json = false;
  bool pids = false;
};

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  cli::Options options(kDescription);
  auto& app = options.app();
  auto* tree = app.add_flag("--tree", arguments.style.tree, "Show the processes as a tree");
  auto* json = app.add_flag("--json", arguments.json, "Write one JSON object");
  auto* pids = app.add_flag("--pids", arguments.pids, "Write only the holders' pids, one a line");
  auto* open = app.add_flag("--open", arguments.style.open,
                            "List who has LOCK open without holding it, too");
  auto* waiters = app.add_flag("--waiters", arguments.style.waiters,
                               "List who is blocked waiting for LOCK, too");
  std::optional<std::string> pidfile;
  auto* service = app.add_option("--pidfile", pidfile, "PIDFILE.lock is a LOCK");
  service->type_name("PIDFILE")->check(cli::is_pidfile_name());
  options.allow_names();
  json->excludes(tree)->excludes(pids);
  pids->excludes(tree)->excludes(open)->excludes(waiters);
  if (!options.parse(argc, argv)) return false;
  if (service->count() > 1) throw cli::UsageError("--pidfile is given more than once");
  arguments.paths = options.names();
  if (pidfile) arguments.paths.push_back(*pidfile + ".lock");
  if (arguments.paths.empty()) throw cli::UsageError("at least one LOCK is needed");
  return true;
}

std::string pid_lines(const std::vector<flock::LockReport>& reports) {
  std::set<pid_t> pids;
  for (const auto& report : reports)
    for (const auto& description : report.descriptions)
      for (const auto& holder : description.holders)
        pids.insert(holder.pid);
  std::string text;
  for (const pid_t pid : pids)
    text += fmt::format("{}\n", pid);
  return text;
}

/// What a script that reads the pids, or a user who gave the wrong name, would not see.
void say_doubts(const flock::LockReport& report, bool pids) {
  if (pids && report.held && report.descriptions.empty())
    cli::say(cli::Level::warning,
             fmt::format("'{}' is held, but its holders cannot be seen", report.path));
  if (!report.held && os::file_at(report.path + ".lock"))
    cli::say(cli::Level::notice, fmt::format("hint: there is '{}.lock', too", report.path));
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  const auto reports = flock::inspect(arguments.paths);
  if (cli::verbosity() != cli::Verbosity::quiet) {
    fmt::print("{}", arguments.json   ? ls::as_json(reports, arguments.style)
                     : arguments.pids ? pid_lines(reports)
                                      : ls::as_text(reports, arguments.style));
  }
  for (const auto& report : reports)
    say_doubts(report, arguments.pids);
  cli::say(cli::Level::detail,
           fmt::format("processes that could not be inspected: {}", reports.front().uninspected));
  const bool all_held = std::all_of(reports.begin(), reports.end(),
                                    [](const flock::LockReport& report) { return report.held; });
  return all_held ? cli::kDone : cli::kNo;
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::run_main(drover::kDescription, [&] { return drover::run(argc, argv); });
}
