#include "lib/companions/machine.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace drover::companions {

std::string_view name_of(State state) {
  switch (state) {
    case State::stopped:
      return "STOPPED";
    case State::waiting:
      return "WAITING";
    case State::starting:
      return "STARTING";
    case State::running:
      return "RUNNING";
    case State::stopping:
      return "STOPPING";
    case State::backoff:
      return "BACKOFF";
    case State::exited:
      return "EXITED";
    case State::fatal:
      return "FATAL";
  }
  return "?";
}

State state_of(Phase phase) {
  switch (phase) {
    case Phase::stopped:
      return State::stopped;
    case Phase::needs:
    case Phase::time:
    case Phase::lock:
      return State::waiting;
    case Phase::starting:
      return State::starting;
    case Phase::running:
      return State::running;
    case Phase::stopping:
      return State::stopping;
    case Phase::backoff:
      return State::backoff;
    case Phase::exited:
      return State::exited;
    case Phase::fatal:
      return State::fatal;
  }
  return State::stopped;
}

/// Where a rule leads.
enum class Machine::To {
  same,
  stopped,
  begin,   ///< the first gate that it has, or its process
  onward,  ///< the next gate behind this one, or its process
  starting,
  running,
  settled,  ///< running; stopping when it should have said that it is ready
  stopping,
  success,
  failure,
  stop_done,  ///< what was asked for meanwhile
};

struct Machine::Rule {
  Phase from;
  Event on;
  To to;
  Then then = Then::stays;
};

constexpr Machine::Rule Machine::kRules[] = {
    {Phase::stopped, Event::start, To::begin},
    {Phase::stopped, Event::restart, To::begin},
    {Phase::stopped, Event::stop, To::stopped},
    {Phase::exited, Event::start, To::begin},
    {Phase::exited, Event::restart, To::begin},
    {Phase::exited, Event::stop, To::stopped},
    {Phase::fatal, Event::start, To::begin},
    {Phase::fatal, Event::restart, To::begin},
    {Phase::fatal, Event::stop, To::stopped},
    {Phase::backoff, Event::start, To::begin},
    {Phase::backoff, Event::restart, To::begin},
    {Phase::backoff, Event::stop, To::stopped},
    {Phase::backoff, Event::due, To::begin},

    {Phase::needs, Event::needs_met, To::onward},
    {Phase::needs, Event::stop, To::stopped},
    {Phase::time, Event::start, To::onward},
    {Phase::time, Event::due, To::onward},
    {Phase::time, Event::stop, To::stopped},
    {Phase::lock, Event::locked, To::starting},
    {Phase::lock, Event::due, To::stopping, Then::retries},
    {Phase::lock, Event::stop, To::stopping},
    {Phase::lock, Event::restart, To::stopping, Then::starts},
    {Phase::lock, Event::succeeded, To::failure},
    {Phase::lock, Event::failed, To::failure},

    {Phase::starting, Event::ready, To::running},
    {Phase::starting, Event::due, To::settled, Then::retries},
    {Phase::starting, Event::stop, To::stopping},
    {Phase::starting, Event::restart, To::stopping, Then::starts},
    {Phase::starting, Event::succeeded, To::success},
    {Phase::starting, Event::failed, To::failure},
    {Phase::running, Event::due, To::same},
    {Phase::running, Event::stop, To::stopping},
    {Phase::running, Event::restart, To::stopping, Then::starts},
    {Phase::running, Event::succeeded, To::success},
    {Phase::running, Event::failed, To::failure},

    {Phase::stopping, Event::stop, To::same},
    {Phase::stopping, Event::due, To::same},
    {Phase::stopping, Event::succeeded, To::same},
    {Phase::stopping, Event::failed, To::same},
    {Phase::stopping, Event::gone, To::stop_done},
};

const Machine::Rule* Machine::rule_for(Event event) const {
  const auto* const found =
      std::find_if(std::begin(kRules), std::end(kRules),
                   [&](const Rule& rule) { return rule.from == phase_ && rule.on == event; });
  return found == std::end(kRules) ? nullptr : found;
}

bool Machine::takes(Event event) const { return rule_for(event) != nullptr; }

bool Machine::has_process() const {
  return phase_ == Phase::lock || phase_ == Phase::starting || phase_ == Phase::running ||
         phase_ == Phase::stopping;
}

Phase Machine::next_gate(Phase behind) const {
  if (policy_.has_needs && behind == Phase::stopped) return Phase::needs;
  if (policy_.is_timed && behind != Phase::time) return Phase::time;
  return policy_.has_lock ? Phase::lock : Phase::starting;
}

Phase Machine::after_failure() {
  if (policy_.is_timed) return next_gate(Phase::stopped);
  if (!policy_.restarts_failed) return Phase::exited;
  ++attempt_;
  if (policy_.max_restarts > 0 && attempt_ > policy_.max_restarts) return Phase::fatal;
  const double most = std::chrono::duration<double>(policy_.max_delay).count();
  const double growth = std::min(std::pow(policy_.factor, attempt_ - 1), 1e12);  // never infinite
  const double grown = std::chrono::duration<double>(policy_.delay).count() * growth;
  const double spread = 1 + policy_.jitter * (2 * random_() - 1);
  delay_ = std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(std::min(grown, most) * spread));
  return Phase::backoff;
}

Phase Machine::resolve(To to) {
  switch (to) {
    case To::same:
      return phase_;
    case To::stopped:
      return Phase::stopped;
    case To::begin:
      return next_gate(Phase::stopped);
    case To::onward:
      return next_gate(phase_);
    case To::starting:
      return Phase::starting;
    case To::running:
      return Phase::running;
    case To::settled:
      return policy_.says_ready ? Phase::stopping : Phase::running;
    case To::stopping:
      return Phase::stopping;
    case To::success:
      if (policy_.is_timed) return next_gate(Phase::stopped);
      return policy_.restarts_succeeded ? after_failure() : Phase::exited;
    case To::failure:
      return after_failure();
    case To::stop_done:
      if (then_ == Then::retries) return after_failure();
      return then_ == Then::starts ? next_gate(Phase::stopped) : Phase::stopped;
  }
  return phase_;
}

void Machine::set_due(Moment now) {
  due_.reset();
  if (phase_ == Phase::lock) {
    if (policy_.lock_timeout) due_ = now + *policy_.lock_timeout;
  } else if (phase_ == Phase::starting) {
    if (!policy_.says_ready) due_ = now + policy_.startsecs;
    if (policy_.says_ready && policy_.start_timeout) due_ = now + *policy_.start_timeout;
  } else if (phase_ == Phase::running) {
    if (attempt_ > 0) due_ = now + policy_.reset_after;
  } else if (phase_ == Phase::stopping) {
    due_ = now + (then_ == Then::starts ? policy_.reload_timeout : policy_.stop_timeout);
  } else if (phase_ == Phase::backoff) {
    due_ = now + delay_;
  }
}

Act Machine::enter(Phase phase, Moment now) {
  const Phase before = phase_;
  const bool had_process = before == Phase::lock || before == Phase::starting;
  phase_ = phase;
  killed_ = false;
  set_due(now);
  if (phase == Phase::lock) return Act::launch;
  if (phase == Phase::starting) return had_process ? Act::nothing : Act::launch;
  if (phase == Phase::stopping) return before == Phase::lock ? Act::cancel : Act::stop;
  return Act::nothing;
}

Act Machine::apply(Event event, Moment now) {
  const Rule* const rule = rule_for(event);
  if (rule == nullptr) return Act::nothing;
  const bool is_asked = event == Event::start || event == Event::stop || event == Event::restart;
  if (is_asked) by_hand_ = event == Event::stop;
  if (event == Event::start || event == Event::restart) attempt_ = 0;

  if (phase_ == Phase::stopping && rule->to == To::same) {
    if (event == Event::stop) {
      const Then before = std::exchange(then_, Then::stays);
      if (before != Then::stays && !killed_) set_due(now);
      return Act::nothing;
    }
    if (event != Event::due) return Act::nothing;
    due_.reset();
    return std::exchange(killed_, true) ? Act::nothing : Act::kill;
  }
  if (rule->to == To::same) {  // well for long enough
    attempt_ = 0;
    due_.reset();
    return Act::nothing;
  }
  const Phase next = resolve(rule->to);
  if (next == Phase::stopping) then_ = rule->then;
  return enter(next, now);
}

}  // namespace drover::companions
