#include "lib/os/signals.h"

#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace std::chrono_literals;

TEST_CASE("signals are read by name and number, and written by name") {
  CHECK(os::parse_signal("TERM") == SIGTERM);
  CHECK(os::parse_signal("SIGTERM") == SIGTERM);
  CHECK(os::parse_signal("quit") == SIGQUIT);
  CHECK(os::parse_signal("15") == 15);
  CHECK(os::parse_signal("SIGRTMIN+1") == SIGRTMIN + 1);
  CHECK(os::parse_signal("IOT") == SIGABRT);
  CHECK(os::parse_signal("CLD") == SIGCHLD);
  CHECK(os::parse_signal("io") == SIGIO);
  CHECK(os::parse_signal("RTMAX") == SIGRTMAX);
  CHECK(os::parse_signal("SIGRTMAX-14") == SIGRTMAX - 14);
  for (const char* text : {"RTMAX-", "RTMAX-0", "RTMAX+1", "RTMAX-31", "", "SIG", "NONE", "0", "-1",
                           "65", "32", "33", "TERM ", "15x"})
    CHECK_FALSE(os::parse_signal(text).has_value());
  for (int number = 1; number < 32; ++number)
    CHECK(os::parse_signal(os::signal_name(number)) == number);
  CHECK(os::signal_name(SIGRTMIN) == "SIGRTMIN");
  CHECK(os::signal_name(99) == "signal 99");
}

TEST_CASE("blocked signals come back") {
  sigset_t before, now;
  ::sigprocmask(SIG_SETMASK, nullptr, &before);
  {
    const os::BlockedSignals blocked(os::signal_set({SIGUSR1}));
    ::sigprocmask(SIG_SETMASK, nullptr, &now);
    CHECK(sigismember(&now, SIGUSR1) == 1);
  }
  ::sigprocmask(SIG_SETMASK, nullptr, &now);
  CHECK(sigismember(&now, SIGUSR1) == sigismember(&before, SIGUSR1));
}

TEST_CASE("an interrupter ends a call that blocks, also when its time is past") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  for (const auto time : {-5s, 0s}) {
    const os::Interrupter interrupter(std::chrono::steady_clock::now() + time);
    char byte;
    CHECK(::read(ends[0], &byte, 1) == -1);
    CHECK(errno == EINTR);
  }
  ::close(ends[0]);
  ::close(ends[1]);
}
