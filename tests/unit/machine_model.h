// A companion's states, written down a second time, and by event where the machine's table goes by
// state: what the machine is compared with.
#pragma once

#include <string>
#include <utility>

#include "tests/unit/machine_support.h"

namespace drover::test {

using Moment = Machine::Moment;

/// One companion as people think of it: a gate that it stands at, or a process, or neither.
class Model {
 public:
  explicit Model(Policy its_policy) : policy(std::move(its_policy)) {}

  Act hear(Event event, Moment now, double luck) {
    luck_ = luck;
    now_ = now;
    switch (event) {
      case Event::start:
        return start();
      case Event::restart:
        return restart();
      case Event::stop:
        return stop();
      case Event::needs_met:
        return at == Phase::needs ? climb(Phase::time) : Act::nothing;
      case Event::locked:
        if (at == Phase::lock) grow_up_later();
        return Act::nothing;
      case Event::ready:
        if (at == Phase::starting) be_well();
        return Act::nothing;
      case Event::due:
        return moment();
      case Event::succeeded:
      case Event::failed:
        if (at == Phase::lock) fail();
        if (at == Phase::starting || at == Phase::running) end(event == Event::succeeded);
        return Act::nothing;
      case Event::gone:
        return at == Phase::stopping ? be_gone() : Act::nothing;
    }
    return Act::nothing;
  }

  Policy policy;
  Phase at = Phase::stopped;
  os::Deadline due;
  unsigned vain = 0;
  bool by_hand = false;

 private:
  enum class Afterwards { down, again, later };

  [[nodiscard]] bool has_process() const {
    return at == Phase::lock || at == Phase::starting || at == Phase::running;
  }

  void go(Phase phase, os::Deadline until = {}) {
    at = phase;
    due = until;
  }

  /// From the gate `first` upwards to the one that holds it, or to a process.
  Act climb(Phase first) {
    if (first == Phase::needs && policy.has_needs) {
      go(Phase::needs);
      return Act::nothing;
    }
    if (first != Phase::lock && policy.is_timed) {
      go(Phase::time);
      return Act::nothing;
    }
    if (!policy.has_lock) {
      grow_up_later();
    } else if (policy.lock_timeout) {
      go(Phase::lock, now_ + *policy.lock_timeout);
    } else {
      go(Phase::lock);
    }
    return Act::launch;
  }

  void grow_up_later() {
    os::Deadline until;
    if (!policy.says_ready) until = now_ + policy.startsecs;
    if (policy.says_ready && policy.start_timeout) until = now_ + *policy.start_timeout;
    go(Phase::starting, until);
  }

  void be_well() {
    if (vain > 0) {
      go(Phase::running, now_ + policy.reset_after);
    } else {
      go(Phase::running);
    }
  }

  Act start() {
    if (at == Phase::stopping || at == Phase::needs || has_process()) return Act::nothing;
    by_hand = false;
    vain = 0;
    return climb(at == Phase::time ? Phase::lock : Phase::needs);
  }

  Act restart() {
    if (at == Phase::stopping || at == Phase::needs || at == Phase::time) return Act::nothing;
    by_hand = false;
    vain = 0;
    return has_process() ? ask_to_end(Afterwards::again) : climb(Phase::needs);
  }

  Act stop() {
    by_hand = true;
    if (has_process()) return ask_to_end(Afterwards::down);
    if (at != Phase::stopping) {
      go(Phase::stopped);
    } else if (afterwards_ != Afterwards::down) {
      afterwards_ = Afterwards::down;
      if (due) due = now_ + policy.stop_timeout;
    }
    return Act::nothing;
  }

  Act ask_to_end(Afterwards afterwards) {
    const bool waits = at == Phase::lock;
    afterwards_ = afterwards;
    go(Phase::stopping,
       now_ + (afterwards == Afterwards::again ? policy.reload_timeout : policy.stop_timeout));
    return waits ? Act::cancel : Act::stop;
  }

  Act moment() {
    if (at == Phase::time) return climb(Phase::lock);
    if (!due) return Act::nothing;
    if (at == Phase::lock) return ask_to_end(Afterwards::later);
    if (at == Phase::starting && policy.says_ready) return ask_to_end(Afterwards::later);
    if (at == Phase::starting) {
      be_well();
    } else if (at == Phase::running) {
      vain = 0;
      due.reset();
    } else if (at == Phase::backoff) {
      return climb(Phase::needs);
    } else if (at == Phase::stopping) {
      due.reset();
      return Act::kill;
    }
    return Act::nothing;
  }

  void end(bool as_expected) {
    if (policy.is_timed) {
      climb(Phase::needs);
    } else if (as_expected && !policy.restarts_succeeded) {
      go(Phase::exited);
    } else {
      fail();
    }
  }

  void fail() {
    if (policy.is_timed) {
      climb(Phase::needs);
      return;
    }
    if (!policy.restarts_failed) {
      go(Phase::exited);
      return;
    }
    if (++vain > policy.max_restarts && policy.max_restarts > 0) {
      go(Phase::fatal);
      return;
    }
    double seconds = std::chrono::duration<double>(policy.delay).count();
    const double cap = std::chrono::duration<double>(policy.max_delay).count();
    for (unsigned more = 1; more < vain && seconds < cap; ++more)
      seconds *= policy.factor;
    seconds = std::min(seconds, cap) * (1 - policy.jitter + 2 * policy.jitter * luck_);
    go(Phase::backoff,
       now_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  }

  Act be_gone() {
    if (afterwards_ == Afterwards::again) return climb(Phase::needs);
    if (afterwards_ == Afterwards::later) {
      fail();
    } else {
      go(Phase::stopped);
    }
    return Act::nothing;
  }

  Afterwards afterwards_ = Afterwards::down;
  double luck_ = 0;
  Moment now_;
};

/// What has to be true whatever the table says.
class Invariants {
 public:
  explicit Invariants(const Machine& machine) : machine_(machine) {}

  /// The first that is broken by what has just happened; empty when none is.
  std::string broken_by(Event event, bool was_taken, Act act, Phase before) {
    if (was_taken && event == Event::stop) is_barred_ = true;
    if (was_taken && (event == Event::start || event == Event::restart)) is_barred_ = false;
    const bool stays = before == Phase::stopping;
    if (was_taken && (event == Event::gone || (is_end(event) && !stays))) has_process_ = false;
    if (!was_taken && (act != Act::nothing || machine_.phase() != before))
      return "an event that was not taken did something";
    if (act == Act::launch) {
      if (has_process_) return "a second process";
      if (is_barred_) return "a start in spite of a stop by hand";
      has_process_ = true;
      kills_ = 0;
    }
    if (act == Act::kill && (before != Phase::stopping || event != Event::due || ++kills_ > 1))
      return "a kill out of place";
    if ((act == Act::stop || act == Act::cancel) && machine_.phase() != Phase::stopping)
      return "a stop signal out of place";
    if (machine_.has_process() != has_process_) return "has_process() is wrong";
    if (machine_.stopped_by_hand() != is_barred_) return "stopped_by_hand() is wrong";
    return due_is_wrong() ? "due() where there is none to come, or none where one is" : "";
  }

 private:
  static bool is_end(Event event) { return event == Event::succeeded || event == Event::failed; }

  [[nodiscard]] bool due_is_wrong() const {
    switch (machine_.phase()) {
      case Phase::backoff:
        return !machine_.due();
      case Phase::stopping:
        return machine_.due().has_value() != (kills_ == 0);
      case Phase::running:
        return machine_.due() && machine_.attempt() == 0;
      case Phase::lock:
      case Phase::starting:
        return false;  // the policy says: the model knows
      default:
        return machine_.due().has_value();
    }
  }

  const Machine& machine_;
  bool has_process_ = false;
  bool is_barred_ = false;
  unsigned kills_ = 0;
};

}  // namespace drover::test
