#include "lib/companions/spec.h"

#include <csignal>
#include <functional>

#include "tests/unit/spec_support.h"

using namespace drover;
using namespace drover::companions;
using namespace drover::test;
using namespace std::chrono_literals;

TEST_CASE("a companion with a command only has every default") {
  const Spec job = job_with("");
  CHECK(job.name == "job");
  CHECK(job.group == "job");
  CHECK(job.command == Words{"run", "it"});
  CHECK(
      (job.folder.empty() && job.description.empty() && job.output.empty() && job.errors.empty()));
  CHECK((!job.uid && !job.gid && !job.umask && job.limits.empty()));
  CHECK(job.env == std::map<std::string, std::string>{{"DROVER_COMPANION", "job"}});
  CHECK(job.autostart);
  CHECK(job.singleton());
  CHECK(job.lock == "/run/app/job.lock");
  CHECK(job.holding == Holding::tree);
  CHECK_FALSE(job.lock_timeout);
  CHECK(job.restart == Restart::always);
  CHECK(job.exit_codes == std::set<int>{0});
  CHECK(job.restart_delay == 5s);
  CHECK(job.restart_max_delay == 60s);
  CHECK(job.restart_factor == 1.6);
  CHECK(job.restart_jitter == 0.1);
  CHECK(job.reset_after == 60s);
  CHECK(job.max_restarts == 0);
  CHECK(job.readiness == Readiness::settled);
  CHECK(job.startsecs == 1s);
  CHECK_FALSE(job.start_timeout);
  CHECK(job.stop_signal == SIGTERM);
  CHECK(job.stop_timeout == 60s);
  CHECK(job.reload_timeout == 60s);
  CHECK((job.needs.empty() && !job.schedule));
}

TEST_CASE("each key is read") {
  const std::vector<std::pair<const char*, std::function<bool(const Spec&)>>> rows = {
      {"description = 'words'", [](auto& s) { return s.description == "words"; }},
      {"cwd = '/srv'", [](auto& s) { return s.folder == "/srv"; }},
      {"cwd = '../srv'", [](auto& s) { return s.folder == "/etc/srv"; }},
      {"env = { A = 'x', B = '' }",
       [](auto& s) { return s.env.at("A") == "x" && s.env.at("B").empty() && s.env.size() == 3; }},
      {"user = 'root'", [](auto& s) { return s.uid == 0 && s.gid == 0; }},
      {"group = 'root'", [](auto& s) { return !s.uid && s.gid == 0; }},
      {"umask = '0027'", [](auto& s) { return s.umask == 027; }},
      {"limits = { nofile = 64, core = 0, stack = 'unlimited' }",
       [](auto& s) {
         return s.limits.size() == 3 && s.limits.at(RLIMIT_NOFILE).rlim_cur == 64 &&
                s.limits.at(RLIMIT_NOFILE).rlim_max == 64 &&
                s.limits.at(RLIMIT_STACK).rlim_max == RLIM_INFINITY;
       }},
      {"autostart = false", [](auto& s) { return !s.autostart; }},
      {"stdout = 'job.log'", [](auto& s) { return s.output == "/etc/app/job.log"; }},
      {"stdout = 'inherit'", [](auto& s) { return s.output.empty(); }},
      {"stderr = 'stdout'", [](auto& s) { return s.errors_to_output && s.errors.empty(); }},
      {"stderr = '/e'", [](auto& s) { return !s.errors_to_output && s.errors == "/e"; }},
      {"singleton = false", [](auto& s) { return !s.singleton(); }},
      {"singleton = true", [](auto& s) { return s.lock == "/run/app/job.lock"; }},
      {"lock = '/var/x.lock'", [](auto& s) { return s.lock == "/var/x.lock"; }},
      {"lock = 'x.lock'", [](auto& s) { return s.lock == "/etc/app/x.lock"; }},
      {"lock_timeout = 0.5", [](auto& s) { return s.lock_timeout == 500ms; }},
      {"hold = 'main'", [](auto& s) { return s.holding == Holding::main; }},
      {"hold = 'both'", [](auto& s) { return s.holding == Holding::both; }},
      {"restart = 'on-failure'", [](auto& s) { return s.restart == Restart::on_failure; }},
      {"restart = 'never'", [](auto& s) { return s.restart == Restart::never; }},
      {"exit_codes = [0, 255]",
       [](auto& s) {
         return s.exit_codes == std::set<int>{0, 255};
       }},
      {"exit_codes = []", [](auto& s) { return s.exit_codes.empty(); }},
      {"restart_delay = '250ms'", [](auto& s) { return s.restart_delay == 250ms; }},
      {"restart_delay = 90", [](auto& s) { return s.restart_max_delay == 90s; }},
      {"restart_max_delay = '2m'", [](auto& s) { return s.restart_max_delay == 120s; }},
      {"restart_factor = 2", [](auto& s) { return s.restart_factor == 2; }},
      {"restart_jitter = 0", [](auto& s) { return s.restart_jitter == 0; }},
      {"reset_after = 1", [](auto& s) { return s.reset_after == 1s; }},
      {"max_restarts = 3", [](auto& s) { return s.max_restarts == 3; }},
      {"startsecs = 0", [](auto& s) { return s.startsecs == 0s; }},
      {"start_timeout = 9", [](auto& s) { return s.start_timeout == 9s; }},
      {"ready = 'startsecs'", [](auto& s) { return s.readiness == Readiness::settled; }},
      {"ready = 'notify'", [](auto& s) { return s.readiness == Readiness::notify; }},
      {"ready = 'fd:3'",
       [](auto& s) { return s.readiness == Readiness::descriptor && s.ready_fd == 3; }},
      {"stop_signal = 'INT'", [](auto& s) { return s.stop_signal == SIGINT; }},
      {"stop_signal = 'SIGQUIT'", [](auto& s) { return s.stop_signal == SIGQUIT; }},
      {"stop_signal = 10", [](auto& s) { return s.stop_signal == SIGUSR1; }},
      {"stop_timeout = 2", [](auto& s) { return s.stop_timeout == 2s; }},
      {"reload_timeout = 2", [](auto& s) { return s.reload_timeout == 2s; }},
      {"cron = '5 4 * * *'",
       [](auto& s) { return s.schedule && s.restart == Restart::never && s.singleton(); }},
  };
  for (const auto& [line, holds] : rows) {
    INFO(line);
    CHECK(holds(job_with(line)));
  }
}

TEST_CASE("what is wrong is said with file, line and key") {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"description = 5", "description"},
      {"cwd = ''", "cwd"},
      {"env = { 'A=' = 'x' }", "A="},
      {"env = { A = 5 }", "A"},
      {"user = 'no-such-user'", "user"},
      {"group = 'no-such-group'", "group"},
      {"umask = '0800'", "umask"},
      {"umask = 18", "umask"},
      {"limits = { nofile = -1 }", "nofile"},
      {"numprocs = 0", "numprocs"},
      {"numprocs = 1001", "numprocs"},
      {"autostart = 'yes'", "autostart"},
      {"stdout = ''", "stdout"},
      {"stderr = 2", "stderr"},
      {"singleton = 1", "singleton"},
      {"lock = ''", "lock"},
      {"lock_timeout = -1", "lock_timeout"},
      {"hold = 'all'", "hold"},
      {"restart = true", "restart"},
      {"exit_codes = 0", "exit_codes"},
      {"exit_codes = [256]", "exit_codes"},
      {"restart_delay = 'soon'", "restart_delay"},
      {"restart_max_delay = '5 parsecs'", "restart_max_delay"},
      {"restart_factor = 0.5", "restart_factor"},
      {"restart_jitter = 1", "restart_jitter"},
      {"reset_after = 'never'", "reset_after"},
      {"max_restarts = -1", "max_restarts"},
      {"max_restarts = 1.5", "max_restarts"},
      {"startsecs = nan", "startsecs"},
      {"start_timeout = inf", "start_timeout"},
      {"ready = 'fd:2'", "ready"},
      {"ready = 'fd:1024'", "ready"},
      {"ready = 'fd:3x'", "ready"},
      {"stop_signal = 'TREM'", "stop_signal"},
      {"stop_signal = 0", "stop_signal"},
      {"stop_signal = 'KILL TERM'", "stop_signal"},
      {"stop_timeout = '1y'", "stop_timeout"},
      {"reload_timeout = []", "reload_timeout"},
      {"needs = [5]", "needs"},
      {"cron = '61 * * * *'", "cron"},
      {"cron = 'often'", "cron"},
  };
  for (const auto& [line, key] : rows) {
    INFO(line);
    CHECK(tells(refusal_of_job(line), 3, key));
  }
}

TEST_CASE("an unknown key is refused with the one that is probably meant") {
  CHECK(refusal_of_job("stop_timout = 5") ==
        at_line(3, "unknown key 'stop_timout'; did you mean 'stop_timeout'?"));
  CHECK(refusal_of_job("\n\nxylophone = 5") == at_line(5, "unknown key 'xylophone'"));
  CHECK(refusal_of_job("limits = { nofiles = 5 }") ==
        at_line(3, "unknown key 'nofiles'; did you mean 'nofile'?"));
  CHECK(refusal_of("[defaults]\nstart_secs = 5") ==
        at_line(2, "unknown key 'start_secs'; did you mean 'startsecs'?"));
  CHECK(refusal_of("[companions.job]\ncommand = 'x'") ==
        at_line(1, "unknown key 'companions'; did you mean 'companion'?"));
}

TEST_CASE("a file has to be sound as a whole") {
  CHECK(refusal_of("[companion.job]\nautostart = true") ==
        at_line(1, "companion 'job' has no command"));
  CHECK(tells(refusal_of("\n[companion]\njob = 5"), 3, "a table is wanted"));
  for (const char* name : {"", ".a", "-a", "a b", "a/b", "a:0", "\xc3\xa9"}) {
    INFO(name);
    const auto said = refusal_of(fmt::format("[companion.'{}']\ncommand = 'x'", name));
    CHECK(said.starts_with(at_line(1, fmt::format("'{}' is no name", name))));
  }
  CHECK(refusal_of("[companion." + std::string(65, 'a') + "]\ncommand = 'x'")
            .starts_with(at_line(1, "")));
  CHECK(refusal_of("[companion.job\ncommand = 'x'").starts_with(at_line(1, "")));
  CHECK(refusal_of_job("command = 'x'").starts_with(at_line(3, "")));
  CHECK(refusal_of("[companion.job]\ncommand = 'a b'")
            .starts_with(at_line(2, "command: each word on its own")));
  CHECK(tells(refusal_of("[companion.job]\ncommand = []"), 2, "an empty command"));
  CHECK(refusal_of_job("cron = '0 0 * * *'\nrestart = 'always'").starts_with(at_line(1, "")));
  CHECK(refusal_of_job("cron = '0 0 * * *'\nrestart = 'never'") == "accepted");
  CHECK(specs_of("").companions.empty());
}
