#include "lib/herd/run_check.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lib/flock/lock_file.h"
#include "lib/herd/pace.h"
#include "lib/os/error.h"
#include "lib/os/signals.h"

namespace drover::herd {
namespace {

using Verdict = Check::Verdict;

}  // namespace

Check check_limit() {
  const int most = most_descriptors();
  if (most > 1025) return {"limit", Verdict::ok, "there is room for a lock above 1024"};
  return {
      "limit",
      Verdict::finding,
      fmt::format("the hard limit of descriptors, {}, leaves no room for a lock above 1024", most),
      {"LimitNOFILE=4096   # systemd; upstart: limit nofile 4096 4096; a shell: ulimit -n 4096"}};
}

std::optional<Check> check_file_system(const std::string& pidfile) {
  try {
    const auto file = flock::LockFile::open(pidfile);  // the lock will lie beside it
    if (!file) return std::nullopt;
    const std::string kind = file->doubtful_file_system();
    if (kind.empty())
      return Check{"file-system", Verdict::ok,
                   fmt::format("'{}.lock' is on a local file system", pidfile)};
    return Check{"file-system",
                 Verdict::finding,
                 fmt::format("'{}.lock' is on {}, where a lock may not be seen by every process",
                             pidfile, kind),
                 {"put the pidfile into a folder of the service's own under /run"}};
  } catch (const Error&) {  // a link; whoever takes the lock will say so
    return std::nullopt;
  }
}

Check check_start(const Patient& patient, ScratchRun& run, ScratchRun::Start start) {
  const Master master = run.master();
  const std::string& no_master = run.service().masters().problem();
  switch (start) {
    case ScratchRun::Start::serves:
      return {"start", Verdict::ok,
              fmt::format("{} serves: master {}, workers: {}", patient.dialect.name,
                          master ? master->pid() : 0, run.workers().size())};
    case ScratchRun::Start::no_pidfile:
      return {"pidfile", Verdict::finding, fmt::format("the server serves, but {}", no_master),
              cures_of_pidfile(patient), run.last_words()};
    case ScratchRun::Start::late:
      return {"start", Verdict::finding,
              fmt::format("the server does not serve: {}", master ? run.problem() : no_master),
              master ? cures_of_start(patient, run.last_words()) : cures_of_pidfile(patient),
              run.last_words()};
    case ScratchRun::Start::failed:
    case ScratchRun::Start::stopped:
      break;
  }
  const std::string end = run.how_it_ended();
  return {"start",
          Verdict::finding,
          fmt::format("the server did not start: {}", end.empty() ? "it has ended" : end),
          {},
          run.last_words()};
}

Check check_reload(const Patient& patient, const ReloadReport& report, bool pidfile_in_release) {
  const std::string asked = os::signal_name(patient.dialect.upgrade);
  if (report.verdict != ReloadReport::Verdict::done) {
    if (pidfile_in_release)
      return {"reload",
              Verdict::finding,
              fmt::format("after a deployment the new master writes its pidfile into the new "
                          "release, not to '{}'",
                          patient.pidfile),
              {"name a pidfile outside of the releases, by its absolute path"}};
    return {"reload",
            Verdict::finding,
            fmt::format("{} brings no new generation: {}", asked, report.reason),
            {"see to it that COMMAND can be started a second time as it was the first time"},
            report.output};
  }
  const bool cut_off = std::any_of(report.steps.begin(), report.steps.end(), [](const Step& step) {
    return step.name == "drain" && !step.note.empty();
  });
  if (cut_off)
    return {"reload",
            Verdict::finding,
            fmt::format("the old generation does not obey {}",
                        os::signal_name(patient.dialect.graceful)),
            {"drover-herd --drain-timeout TIME, which kills it at the limit"}};
  return {"reload", Verdict::ok,
          fmt::format("{} brings a new generation, master {}, in {:.2f} s", asked,
                      report.new_master, seconds(report.duration))};
}

Check check_no_daemon(const Patient& patient) {
  return {"reload",
          Verdict::finding,
          fmt::format("{} ignores {} unless it is a daemon", patient.dialect.name,
                      os::signal_name(patient.dialect.upgrade)),
          {"leave 'daemon off' out: drover-herd, and drover-wait --relay, stay in the foreground "
           "for it"}};
}

Check check_end(const ScratchRun::Ending& ending) {
  const std::string asked = os::signal_name(ending.number);
  if (ending.outlived.empty())
    return {"stop", Verdict::ok, fmt::format("{} ends all {} processes", asked, ending.processes)};
  return {"stop",
          Verdict::finding,
          fmt::format("processes that outlive {}, and hold the lock as long: {}", asked,
                      fmt::join(ending.outlived, ", ")),
          {"close descriptor $DROVER_LOCK_FD in what the server starts"}};
}

}  // namespace drover::herd
