#include "lib/os/process.h"

#include "lib/os/spawn.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace std::chrono_literals;
using test::Child;

TEST_CASE("a process is held fast beyond its death") {
  Child child;
  const auto process = os::Process::open(child.pid());
  REQUIRE(process);
  CHECK(process->alive());
  CHECK_FALSE(process->wait_dead(test::in(10ms)));
  CHECK(process->signal(0));
  child.kill();
  CHECK_FALSE(process->alive());
  CHECK(process->wait_dead());
  CHECK_FALSE(process->signal(SIGTERM));
}

TEST_CASE("a zombie is dead") {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  const auto process = os::Process::open(pid);
  REQUIRE(process);
  CHECK(process->wait_dead(test::in(20s)));
  CHECK_FALSE(process->alive());
  ::waitpid(pid, nullptr, 0);
}

TEST_CASE("there is no process with such a number") {
  CHECK_FALSE(os::Process::open(0));
  CHECK_FALSE(os::Process::open(-1));
  CHECK_FALSE(os::Process::open(1 << 30));
}

TEST_CASE("the way a process ended is described") {
  CHECK(os::ExitStatus{3 << 8}.describe() == "exited with status 3");
  CHECK(os::ExitStatus{3 << 8}.shell_code() == 3);
  CHECK(os::ExitStatus{SIGKILL}.describe() == "was killed by SIGKILL");
  CHECK(os::ExitStatus{SIGKILL}.shell_code() == 137);
  CHECK(os::ExitStatus{SIGSEGV | 0x80}.describe() == "was killed by SIGSEGV (core dumped)");
}

TEST_CASE("the kernel tells how a reaped process ended, where it can") {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(7);
  const auto process = os::Process::open(pid);
  REQUIRE(process);
  CHECK_FALSE(process->exit_status(test::in(10ms)));  // not reaped: not told
  ::waitpid(pid, nullptr, 0);
  const auto status = process->exit_status(test::in(20s));
  if (status) CHECK(status->shell_code() == 7);  // Linux 6.15 and later
}

TEST_CASE("a command that runs on after the deadline is killed") {
  const os::Execution sleeper{"/bin/sleep", {"sleep", "1000"}, {}};
  CHECK_FALSE(os::try_out(sleeper, test::in(10ms)).status);
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);  // reaped
  const auto trial =
      os::try_out({"/bin/sh", {"sh", "-c", "cat; echo x >&2; exit 3"}, {}}, test::in(20s));
  REQUIRE(trial.status);
  CHECK(trial.status->shell_code() == 3);
  CHECK(trial.errors == "x\n");
  CHECK_THROWS_AS(os::try_out({"/nowhere", {"nowhere"}, {}}, test::in(20s)), os::ExecError);
}

TEST_CASE("poll time-outs are rounded up, never negative but for none") {
  CHECK(os::poll_timeout(std::nullopt) == -1);
  CHECK(os::poll_timeout(std::chrono::steady_clock::now() - 5s) == 0);
  CHECK(os::poll_timeout(std::chrono::steady_clock::now() + 24h * 365) > 1000000);
}
