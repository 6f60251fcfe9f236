// A machine of a companion's states with a clock and luck of its own.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "lib/companions/machine.h"

namespace drover::test {

using companions::Act;
using companions::Event;
using companions::Machine;
using companions::Phase;
using companions::Policy;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using Events = std::vector<Event>;

constexpr Event kStart = Event::start, kStop = Event::stop, kRestart = Event::restart,
                kMet = Event::needs_met, kLocked = Event::locked, kSaysReady = Event::ready,
                kDue = Event::due, kDone = Event::succeeded, kFailed = Event::failed,
                kGone = Event::gone;

inline Policy plain() {
  Policy policy;
  policy.startsecs = std::chrono::seconds(1);
  policy.stop_timeout = std::chrono::seconds(60);
  policy.reload_timeout = std::chrono::seconds(30);
  policy.reset_after = std::chrono::seconds(100);
  policy.delay = std::chrono::seconds(5);
  policy.max_delay = std::chrono::seconds(60);
  policy.factor = 2;
  return policy;
}

inline Policy with(void (*change)(Policy&)) {
  Policy policy = plain();
  change(policy);
  return policy;
}

/// What has become of it after some events. `due` puts its clock forward to the moment of due().
class Played {
 public:
  explicit Played(const Policy& policy, const Events& events = {}, double luck = 0.5)
      : machine(policy, [luck] { return luck; }) {
    for (const Event event : events)
      apply(event);
  }

  Act apply(Event event) {
    if (event == Event::due && machine.due()) now = std::max(now, *machine.due());
    return machine.apply(event, now);
  }
  void pass(Clock::duration time) { now += time; }
  /// In seconds from now; -1 for never.
  [[nodiscard]] double due_in() const {
    return machine.due() ? Seconds(*machine.due() - now).count() : -1;
  }

  Machine machine;
  Machine::Moment now{std::chrono::hours(1000)};
};

}  // namespace drover::test
