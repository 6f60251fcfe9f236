// The states of one companion, as data: which event leads where, and what has to be done then.
// Knows no process and no clock: who drives it tells it what has happened, and when.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string_view>

#include "lib/os/clock.h"

namespace drover::companions {

/// What people see.
enum class State { stopped, waiting, starting, running, stopping, backoff, exited, fatal };
/// "STOPPED" and so on.
std::string_view name_of(State state);

/// The same with what it waits for. There is a process in lock, starting, running and stopping.
enum class Phase {
  stopped,
  needs,  ///< WAITING for other companions
  time,   ///< WAITING for its schedule
  lock,   ///< WAITING: its process is blocked in flock(2)
  starting,
  running,
  stopping,
  backoff,
  exited,  ///< ended as expected, and is not to be started again
  fatal,   ///< started too often
};
State state_of(Phase phase);

enum class Event {
  start,
  stop,
  restart,
  needs_met,
  locked,     ///< its process has the lock
  ready,      ///< it says so
  due,        ///< the moment of due() has come
  succeeded,  ///< its main process has ended as expected
  failed,     ///< ended otherwise, or could not be started
  gone,       ///< while stopping: the last process of its group
};

/// What whoever drives the machine has to do.
enum class Act {
  nothing,
  launch,  ///< start its process, which waits for the lock if there is one
  cancel,  ///< end the process that waits
  stop,    ///< send the stop signal
  kill,    ///< SIGKILL to what is left
};

/// What a spec says about its states.
struct Policy {
  bool has_needs = false;
  bool is_timed = false;
  bool has_lock = false;
  bool says_ready = false;         ///< otherwise `startsecs` is what makes it RUNNING
  bool restarts_succeeded = true;  ///< after an expected end
  bool restarts_failed = true;
  std::chrono::steady_clock::duration startsecs{}, stop_timeout{}, reload_timeout{}, reset_after{};
  std::optional<std::chrono::steady_clock::duration> start_timeout, lock_timeout;
  std::chrono::steady_clock::duration delay{}, max_delay{};
  double factor = 1, jitter = 0;
  unsigned max_restarts = 0;
};

class Machine {
 public:
  using Moment = std::chrono::steady_clock::time_point;
  /// From 0 to 1.
  using Random = std::function<double()>;

  Machine(Policy policy, Random random) : policy_(policy), random_(std::move(random)) {}

  /// Counts from the next state on.
  void set_policy(const Policy& policy) { policy_ = policy; }

  /// Whether the event means something now. start, and restart, do not while it is stopping; what
  /// is not possible at all (ready of something that does not run) does not either.
  [[nodiscard]] bool takes(Event event) const;
  /// An event that is not taken changes nothing. Never says `launch` while there is a process.
  Act apply(Event event, Moment now);

  [[nodiscard]] Phase phase() const noexcept { return phase_; }
  [[nodiscard]] State state() const noexcept { return state_of(phase_); }
  /// When `due` is to come; empty for never. In Phase::time its schedule says when.
  [[nodiscard]] os::Deadline due() const noexcept { return due_; }
  [[nodiscard]] bool has_process() const;
  /// How often it has been started in vain since it was well.
  [[nodiscard]] unsigned attempt() const noexcept { return attempt_; }
  /// How long it waits in BACKOFF.
  [[nodiscard]] std::chrono::steady_clock::duration delay() const noexcept { return delay_; }
  /// Whether it is down because somebody has asked for it.
  [[nodiscard]] bool stopped_by_hand() const noexcept { return by_hand_; }
  /// While stopping: whether it will be started again.
  [[nodiscard]] bool returns() const noexcept { return then_ != Then::stays; }

 private:
  enum class Then { stays, starts, retries };
  enum class To;
  struct Rule;
  static const Rule kRules[];

  [[nodiscard]] const Rule* rule_for(Event event) const;
  /// What comes behind a phase on the way to its process.
  [[nodiscard]] Phase next_gate(Phase behind) const;
  [[nodiscard]] Phase resolve(To to);
  [[nodiscard]] Phase after_failure();
  Act enter(Phase phase, Moment now);
  void set_due(Moment now);

  Policy policy_;
  Random random_;
  Phase phase_ = Phase::stopped;
  Then then_ = Then::stays;
  os::Deadline due_;
  unsigned attempt_ = 0;
  std::chrono::steady_clock::duration delay_{};
  bool by_hand_ = false;
  bool killed_ = false;
};

}  // namespace drover::companions
