#include <algorithm>
#include <cmath>

#include "lib/companions/machine.h"
#include "tests/unit/catch.h"
#include "tests/unit/machine_support.h"

using namespace drover;
using namespace drover::test;
using namespace std::chrono_literals;

namespace {

bool is_close(double one, double other) { return std::abs(one - other) < 1e-6; }

}  // namespace

TEST_CASE("companions 4: delays grow, are capped, and differ by the jitter at most") {
  Policy policy = plain();
  policy.jitter = 0.1;
  for (const double luck : {0.0, 0.25, 0.5, 1.0}) {
    Played played(policy, {kStart}, luck);
    for (const double base : {5, 10, 20, 40, 60, 60, 60}) {
      CHECK(played.apply(kFailed) == Act::nothing);
      CHECK(is_close(played.due_in(), base * (0.9 + 0.2 * luck)));
      CHECK(is_close(Seconds(played.machine.delay()).count(), played.due_in()));
      CHECK(played.apply(kDue) == Act::launch);
    }
    CHECK(played.machine.attempt() == 7);
  }
}

TEST_CASE("no number of vain starts breaks the delay") {
  for (const auto base : {Clock::duration(0s), Clock::duration(1ns), Clock::duration(24h)}) {
    Policy policy = plain();
    policy.delay = base;
    policy.max_delay = std::max(base, Clock::duration(60s));
    policy.factor = 100;
    policy.jitter = 0.9;
    Played played(policy, {kStart}, 1);
    for (int round = 0; round < 2000; ++round) {
      played.apply(kFailed);
      REQUIRE(played.due_in() >= 0);
      REQUIRE(played.due_in() <= Seconds(policy.max_delay).count() * 1.9 + 1);
      played.apply(kDue);
    }
  }
}

TEST_CASE("companions 5: reset_after healthy seconds bring the delay back to the base") {
  Played played(plain(), {kStart, kFailed, kDue, kFailed, kDue, kDue});
  CHECK(played.machine.attempt() == 2);
  played.pass(99s);
  CHECK(played.due_in() == 1);
  SECTION("not before") {
    played.apply(kFailed);
    CHECK(played.due_in() == 20);
  }
  SECTION("then") {
    played.apply(kDue);
    CHECK(played.machine.attempt() == 0);
    played.apply(kFailed);
    CHECK(played.due_in() == 5);
  }
}

TEST_CASE("a start by hand begins with the first delay") {
  for (const Event event : {kStart, kRestart}) {
    Played played(plain(), {kStart, kFailed, kDue, kFailed, event, kFailed});
    CHECK(played.due_in() == 5);
  }
}

TEST_CASE("companions 7: max_restarts counts restarts, and none that came to health") {
  Played played(with([](Policy& p) { p.max_restarts = 3; }),
                {kStart, kFailed, kDue, kFailed, kDue, kDue, kDue});
  for (int restart = 1; restart <= 3; ++restart) {
    played.apply(kFailed);
    REQUIRE(played.machine.phase() == Phase::backoff);
    played.apply(kDue);
  }
  played.apply(kFailed);
  CHECK(played.machine.phase() == Phase::fatal);
}

TEST_CASE("companions 16: stop during a pending restart wins, and takes the stop deadline") {
  Played played(plain(), {kStart, kDue, kRestart});
  played.pass(20s);
  CHECK(played.apply(kStop) == Act::nothing);
  CHECK(played.due_in() == 60);
  CHECK_FALSE(played.machine.returns());
  played.pass(15s);
  CHECK(played.apply(kStop) == Act::nothing);  // a second one
  CHECK(played.due_in() == 45);
  CHECK(played.apply(kDue) == Act::kill);
  played.apply(kStop);
  CHECK(played.due_in() == -1);
  CHECK(played.apply(kGone) == Act::nothing);
  CHECK(played.machine.phase() == Phase::stopped);
}

TEST_CASE("a stop while it is killed for a restart still wins") {
  Played played(plain(), {kStart, kDue, kRestart, kDue, kStop});
  CHECK(played.due_in() == -1);
  played.apply(kGone);
  CHECK(played.machine.phase() == Phase::stopped);
}
