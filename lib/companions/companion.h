// One companion: its state, its process, what has become of it so far.
#pragma once

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/companions/launch.h"
#include "lib/companions/log.h"
#include "lib/companions/machine.h"
#include "lib/companions/spec.h"
#include "lib/flock/lock_file.h"
#include "lib/os/process.h"

namespace drover::companions {

class Companion;

/// What its companions get from a manager. Lives longer than they do.
struct Surroundings {
  asio::io_context& io;
  std::function<void(const std::string&)> warning;
  Machine::Random random;
  std::string notify = {};  ///< the path of the notify socket; empty for none
  /// What flock::hint_of_deleted() says of a lock file.
  std::function<std::string(const std::string& lock)> hint_of_deleted;
  /// A companion has gone from one state to another, or its next moment is another one.
  std::function<void(Companion&, State before)> changed;
};

/// What has happened to it.
struct History {
  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();  ///< its state
  std::string reason;  ///< why it is in its state, in words; may be empty
  unsigned starts = 0, exits = 0, kills = 0;
  std::optional<os::ExitStatus> last_exit;
  std::chrono::system_clock::time_point last_exit_at;
};

/// Not for several threads. Whoever has it tells it of children that were reaped, and of moments
/// that have come.
class Companion {
 public:
  Companion(Surroundings& surroundings, Spec spec);
  Companion(const Companion&) = delete;
  Companion& operator=(const Companion&) = delete;

  [[nodiscard]] const Spec& spec() const noexcept { return spec_; }
  [[nodiscard]] const Machine& machine() const noexcept { return machine_; }
  [[nodiscard]] State state() const noexcept { return machine_.state(); }
  [[nodiscard]] const History& history() const noexcept { return history_; }
  /// The main process, or the one that waits for the lock; 0 when there is none, or when only the
  /// rest of its group is left.
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// The main process of a copy that runs; 0 when it only waits, or there is none.
  [[nodiscard]] pid_t live_pid() const noexcept {
    return machine_.phase() == Phase::lock ? 0 : pid_;
  }
  /// Its process group, while there is one.
  [[nodiscard]] pid_t group() const noexcept { return group_; }
  [[nodiscard]] bool ready() const noexcept { return ready_ && state() == State::running; }
  /// For those that need it: whether it is RUNNING, or has ended as expected.
  [[nodiscard]] bool meets_needs() const noexcept;

  /// Does what the event asks for. False when it means nothing now. `reason` is why.
  bool apply(Event event, const std::string& reason = {});
  /// What its state waits for has come about: see due().
  void moment_has_come();
  /// When moment_has_come() is to be called. A schedule's moment is of the clock on the wall.
  [[nodiscard]] os::Deadline due() const noexcept;
  [[nodiscard]] std::optional<time_t> due_on_the_wall() const noexcept { return wall_due_; }

  /// A process of it has said that it is ready.
  void say_ready();
  /// Its main process was reaped.
  void reaped(os::ExitStatus status);
  /// Some process was reaped: the last of its group may be gone.
  void look_at_group();
  /// Takes over what it can while it runs: of the next start, everything.
  void set_spec(Spec spec);
  /// Throws Error when a file cannot be opened.
  void reopen_logs();
  /// To the main process, or to its group. False when there is none. Throws Error.
  [[nodiscard]] bool signal(int number, bool to_group) const;

 private:
  void act(Act act);
  void start();
  [[nodiscard]] std::string why_no_lock() const;
  void prepare_lock();
  void prepare_logs();
  void prepare_ready();
  void watch_progress();
  void take_progress();
  void watch_ready();
  void send(int number) const noexcept;
  void let_go_of_lock() noexcept { lock_.reset(); }
  void set_wall_due();
  [[nodiscard]] bool is_expected(os::ExitStatus status) const;
  [[nodiscard]] bool has_living_group() const;

  Surroundings& surroundings_;
  Spec spec_;
  Machine machine_;
  History history_;
  pid_t pid_ = 0;
  pid_t group_ = 0;
  bool ready_ = false;
  bool was_replaced_ = false;  ///< its lock's file, while it waited
  std::string failure_;        ///< what its child could not do
  std::optional<time_t> wall_due_;
  os::Deadline look_again_;              ///< at the rest of its group
  std::optional<flock::LockFile> lock_;  ///< while it waits; with Holding::main and both, longer
  std::optional<asio::posix::stream_descriptor> progress_;
  std::optional<asio::posix::stream_descriptor> ready_pipe_;
  os::Fd ready_end_;
  std::unique_ptr<Log> output_, errors_;
};

}  // namespace drover::companions
