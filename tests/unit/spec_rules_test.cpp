// What holds for several keys, or several companions, at once.
#include <sys/stat.h>
#include <unistd.h>

#include "lib/companions/spec.h"
#include "tests/unit/spec_support.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::companions;
using namespace drover::test;
using namespace std::chrono_literals;

TEST_CASE("run_dir is the folder of the locks") {
  CHECK(specs_of("run_dir = 'x'").run_dir == "/etc/app/x");
  CHECK(specs_of("").run_dir == "/run/app");
  CHECK(specs_of(std::string("run_dir = '/z'\n") + kJob).companions[0].lock == "/z/job.lock");
  CHECK_THROWS_AS(parse_specs(kJob, kFile, ""), Error);
  CHECK_FALSE(
      parse_specs(std::string(kJob) + "singleton = false", kFile, "").companions[0].singleton());
}

TEST_CASE("companions come in the order of the file") {
  CHECK(names_of(specs_of("[companion.b]\ncommand = 'x'\n[companion.c]\ncommand = 'x'\n"
                          "[companion.a]\ncommand = 'x'\n")
                     .companions) == Words{"b", "c", "a"});
}

TEST_CASE("defaults are for all, and a companion's own keys come before them") {
  const auto own = [](const std::string& defaults, const std::string& lines) {
    return specs_of("[defaults]\n" + defaults + "\n" + kJob + lines).companions.at(0);
  };
  CHECK(own("stop_timeout = 5", "").stop_timeout == 5s);
  CHECK(own("stop_timeout = 5", "stop_timeout = 6").stop_timeout == 6s);
  CHECK(own("stderr = 'stdout'", "stderr = '/e'").errors == "/e");
  CHECK_FALSE(own("stderr = 'stdout'", "stderr = '/e'").errors_to_output);
  CHECK_FALSE(own("singleton = false", "").singleton());
  CHECK(own("singleton = false", "singleton = true").lock == "/run/app/job.lock");
  CHECK(own("singleton = false", "lock = '/x'").lock == "/x");
  CHECK(own("user = 'nobody'", "user = 'root'").gid == 0);
  CHECK(own("ready = 'fd:5'", "ready = 'notify'").readiness == Readiness::notify);
  CHECK(own("restart = 'on-failure'", "cron = '0 0 * * *'").restart == Restart::never);
  const Spec both = own("env = { A = '1', B = '2' }\nlimits = { core = 0 }",
                        "env = { B = '3' }\nlimits = { nofile = 9 }");
  CHECK((both.env.at("A") == "1" && both.env.at("B") == "3" && both.limits.size() == 2));
  for (const char* key : {"command = 'x'", "lock = 'x'", "needs = 'x'", "cron = '0 0 * * *'"})
    CHECK(tells(refusal_of(std::string("[defaults]\n") + key), 2, "no default"));
}

TEST_CASE("numprocs makes one companion of each process") {
  const auto all = specs_of(std::string(kJob) + "numprocs = 3").companions;
  CHECK(names_of(all) == Words{"job:0", "job:1", "job:2"});
  CHECK(all[2].group == "job");
  CHECK(all[2].lock == "/run/app/job:2.lock");
  CHECK(all[2].env.at("DROVER_COMPANION") == "job:2");
  CHECK(all[2].env.at("DROVER_COMPANION_NUMBER") == "2");
  // Numbered as soon as the key is there: a second process leaves the first one as it is.
  CHECK(names_of(specs_of(std::string(kJob) + "numprocs = 1").companions) == Words{"job:0"});
  CHECK(refusal_of_job("numprocs = 2\nlock = '/x'") ==
        at_line(1, "the processes of 'job' cannot have one lock"));
}

TEST_CASE("needs name other companions, and lead to no circle") {
  const auto chain = [](const std::string& a, const std::string& b, const std::string& c) {
    return fmt::format(
        "[companion.a]\ncommand = 'x'\nneeds = [{}]\n[companion.b]\ncommand = 'x'\n"
        "needs = [{}]\n[companion.c]\ncommand = 'x'\nneeds = [{}]\n",
        a, b, c);
  };
  CHECK(specs_of(chain("'b', 'c'", "'c'", "")).companions[0].needs == Words{"b", "c"});
  CHECK(specs_of(std::string(kJob) + "needs = 'z'\n[companion.z]\ncommand = 'x'\nnumprocs = 2")
            .companions[0]
            .needs == Words{"z"});
  CHECK(tells(refusal_of(chain("'b'", "'a'", "")), 3, "'a' needs itself"));
  CHECK(tells(refusal_of(chain("", "'c'", "'b'")), 6, "'b' needs itself"));
  CHECK(tells(refusal_of(chain("'b'", "'c'", "'a'")), 3, "'a' needs itself"));
  CHECK(tells(refusal_of(chain("", "", "'c'")), 9, "'c' needs itself"));
  CHECK(tells(refusal_of(chain("'d'", "", "")), 3, "'d' is no companion"));
}

TEST_CASE("keys differ by what they mean, and some are taken over by what runs") {
  const auto differing = [](const std::string& one, const std::string& other) {
    return differing_keys(specs_of(one + "\n" + kJob).companions[0],
                          specs_of(other + "\n" + kJob).companions[0]);
  };
  CHECK(differing_keys(job_with(""), job_with("# words")).empty());
  CHECK(differing_keys(job_with("umask = '0027'\ncwd = '/'"), job_with("cwd = '/'\numask = '0027'"))
            .empty());
  CHECK(differing_keys(job_with("cwd = '/'"), job_with("")) == Words{"cwd"});
  CHECK(differing_keys(job_with("cwd = '/'\nstartsecs = 1"),
                       job_with("cwd = '/x'\nhold = 'main'")) == Words{"cwd", "hold", "startsecs"});
  CHECK(differing("run_dir = '/a'", "run_dir = '/b'") == Words{"lock"});
  CHECK(differing("[defaults]\nstartsecs = 1", "[defaults]\nstartsecs = 2") == Words{"startsecs"});
  CHECK(differing_keys(
            specs_of("[defaults.env]\nA = '1'\n[companion.job]\ncommand = 'x'\nenv.B = '2'")
                .companions[0],
            specs_of("[defaults.env]\nA = '3'\n[companion.job]\ncommand = 'x'\nenv.B = '2'")
                .companions[0]) == Words{"env"});
  for (const char* key :
       {"description", "autostart", "restart", "exit_codes", "restart_delay", "restart_max_delay",
        "restart_factor", "restart_jitter", "reset_after", "max_restarts", "startsecs",
        "start_timeout", "stop_signal", "stop_timeout", "reload_timeout", "lock_timeout", "needs"})
    CHECK(applies_live(key));
  for (const char* key : {"command", "cwd", "env", "user", "group", "umask", "limits", "stdout",
                          "stderr", "singleton", "lock", "hold", "ready", "no such key"})
    CHECK_FALSE(applies_live(key));
}

TEST_CASE("a file that others may write to, or that is none, is not read") {
  const test::Folder folder;
  const std::string path = folder / "c.toml";
  CHECK_THROWS_AS(read_specs(path, ""), Error);
  test::write_file(path, "run_dir = 'locks'\n" + std::string(kJob));
  CHECK(read_specs(path, "").companions[0].lock == folder / "locks/job.lock");
  ::chmod(path.c_str(), 0666);
  CHECK_THROWS_AS(read_specs(path, ""), Error);
  ::chmod(path.c_str(), 0600);
  if (::geteuid() == 0) {
    CHECK(::chown(path.c_str(), 65534, 65534) == 0);
    CHECK_THROWS_AS(read_specs(path, ""), Error);
  }
  ::unlink(path.c_str());
  CHECK(::mkfifo(path.c_str(), 0600) == 0);
  CHECK_THROWS_AS(read_specs(path, ""), Error);
  CHECK_THROWS_AS(read_specs(folder / "", ""), Error);
}

TEST_CASE("companions 10: no delay is so short that a companion that ends at once spins") {
  CHECK(refusal_of_job("restart_delay = 0") ==
        at_line(3, "restart_delay: at least 10ms is wanted"));
  CHECK(refusal_of_job("restart_delay = '10ms'") == "accepted");
}

TEST_CASE("a key of thousands of parts is refused before it is read") {
  std::string key = "a";
  for (int part = 0; part < 20000; ++part)
    key += ".a";
  for (const std::string& text : {key + " = 1", "[" + key + "]", "x = { " + key + " = 1 }"})
    CHECK(refusal_of(text).find("a key has more than 1000 parts") != std::string::npos);
  CHECK(refusal_of("[companion.job]\ncommand = '" + std::string(900, '.') + "'") == "accepted");
}
