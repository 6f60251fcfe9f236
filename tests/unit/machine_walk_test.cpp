// A random walk of the states of a companion, beside a model of them.
#include <algorithm>
#include <array>
#include <random>

#include "tests/unit/catch.h"
#include "tests/unit/machine_model.h"

using namespace drover;
using namespace drover::test;
using namespace std::chrono_literals;

namespace {

using Random = std::mt19937;

bool toss(Random& random, double chance) { return std::bernoulli_distribution(chance)(random); }

Clock::duration some_time(Random& random) {
  static constexpr std::array<Clock::duration, 6> kTimes = {0s, 1ns, 250ms, 3s, 70s, 2h};
  return kTimes.at(random() % kTimes.size());
}

/// `says_ready` stays as it is: no running companion takes that over.
Policy some_policy(Random& random, bool says_ready) {
  Policy policy;
  policy.has_needs = toss(random, 0.3);
  policy.is_timed = toss(random, 0.2);
  policy.has_lock = toss(random, 0.5);
  policy.says_ready = says_ready;
  policy.restarts_failed = toss(random, 0.8);
  policy.restarts_succeeded = policy.restarts_failed && toss(random, 0.6);
  policy.startsecs = some_time(random);
  policy.stop_timeout = some_time(random);
  policy.reload_timeout = some_time(random);
  policy.reset_after = some_time(random);
  if (toss(random, 0.5)) policy.start_timeout = some_time(random);
  if (toss(random, 0.5)) policy.lock_timeout = some_time(random);
  policy.delay = some_time(random);
  policy.max_delay = std::max(policy.delay, some_time(random));
  policy.factor = 1 + static_cast<double>(random() % 20) / 10;
  policy.jitter = static_cast<double>(random() % 10) / 10;
  policy.max_restarts = static_cast<unsigned>(random() % 5);
  return policy;
}

/// `due` only when it may come: everything else may come at any time, and often means nothing.
Event some_event(Random& random, const Machine& machine) {
  static constexpr std::array<Event, 9> kEvents = {
      Event::start, Event::stop, Event::restart,   Event::needs_met, Event::locked,
      Event::ready, Event::gone, Event::succeeded, Event::failed};
  const bool may_be_due = machine.due() || machine.phase() == Phase::time;
  if (may_be_due && toss(random, 0.3)) return Event::due;
  return kEvents.at(random() % kEvents.size());
}

}  // namespace

TEST_CASE("companions: 100,000 random events, exits and steps of the clock break no invariant") {
  constexpr int kWalks = 1000;
  constexpr int kSteps = 100;
  constexpr auto kRounding = 1us;  // the model's delays are multiplied one by one
  Random random(20261123);
  std::array<int, 10> seen{};
  double luck = 0;
  for (int walk = 0; walk < kWalks; ++walk) {
    const bool says_ready = toss(random, 0.4);
    const Policy first = some_policy(random, says_ready);
    Machine machine(first, [&luck] { return luck; });
    Model model(first);
    Invariants invariants(machine);
    Moment now{1000h};
    for (int step = 0; step < kSteps; ++step) {
      if (toss(random, 0.02)) {
        model.policy = some_policy(random, says_ready);
        machine.set_policy(model.policy);
      }
      now += some_time(random);
      luck = std::uniform_real_distribution<double>(0, 1)(random);
      const Event event = some_event(random, machine);
      if (event == Event::due && machine.due()) now = std::max(now, *machine.due());
      const Phase before = machine.phase();
      const bool taken = machine.takes(event);
      const Act act = machine.apply(event, now);
      ++seen.at(static_cast<size_t>(machine.phase()));

      INFO("walk " << walk << ", step " << step << ", phase " << static_cast<int>(before)
                   << ", event " << static_cast<int>(event));
      REQUIRE(act == model.hear(event, now, luck));
      REQUIRE(machine.phase() == model.at);
      REQUIRE(machine.attempt() == model.vain);
      REQUIRE(machine.stopped_by_hand() == model.by_hand);
      REQUIRE(machine.due().has_value() == model.due.has_value());
      if (model.due) {
        REQUIRE(*machine.due() - *model.due < kRounding);
        REQUIRE(*model.due - *machine.due() < kRounding);
        model.due = machine.due();
      }
      REQUIRE(invariants.broken_by(event, taken, act, before) == "");
    }
  }
  for (const int times : seen)  // it has been everywhere
    CHECK(times > kWalks / 10);
}
