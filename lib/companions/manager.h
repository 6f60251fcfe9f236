// All companions of one configuration: who is started when, in which order they stop, what a new
// configuration changes.
#pragma once

#include <asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/companions/companion.h"
#include "lib/control/alarm.h"
#include "lib/control/notify_socket.h"
#include "lib/os/wall_timer.h"

namespace drover::companions {

/// What a new configuration does to one companion.
struct Change {
  enum class Kind { none, add, remove, restart, apply } kind = Kind::none;
  std::string name;
  std::vector<std::string> keys;  ///< those that differ
};
std::string_view name_of(Change::Kind kind);

struct ManagerHooks {
  std::function<void(const std::string&)> warning;
  /// A companion has another state.
  std::function<void(const Companion&, State before)> moved;
  /// All have stopped that were asked to by stop_all().
  std::function<void()> ended;
};

/// Not for several threads. No wake-up while nothing happens. Whoever runs the loop adopts orphans
/// (PR_SET_CHILD_SUBREAPER), reaps every child and tells it here.
class Manager {
 public:
  /// Makes the folder of the locks, with mode 0700. Throws Error.
  Manager(asio::io_context& io, Specs specs, ManagerHooks hooks);
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  /// Starts those that are to be started.
  void begin();
  void reaped(pid_t pid, os::ExitStatus status);
  /// sd_notify(3): a companion, or a process of it, says that it is ready.
  void heard(const control::NotifyMessage& message);

  using List = std::vector<std::shared_ptr<Companion>>;
  /// In the order of the configuration; behind them those that are being removed.
  [[nodiscard]] const List& companions() const noexcept { return companions_; }
  /// One by its name, or all of a group. Those that are being removed are not found.
  [[nodiscard]] List find(const std::string& name) const;
  [[nodiscard]] bool is_being_removed(const Companion& companion) const;
  /// What a companion waits for in Phase::needs.
  [[nodiscard]] std::vector<std::string> unmet_needs(const Companion& companion) const;

  /// Makes what a configuration needs. Throws Error, also for one that cannot be used.
  static void prepare(const Specs& specs);
  [[nodiscard]] std::vector<Change> plan(const Specs& specs) const;
  /// Carries the plan out. A companion that is down, or on its way, stays down. Throws Error, and
  /// has changed nothing then.
  std::vector<Change> reread(Specs specs);

  /// Hands those over to new copies that go with the server, where they are up: see Handover. The
  /// old copies are being removed from then on.
  void server_reloaded();

  /// Stops all, those first that need others. Nothing is started any more.
  void stop_all();
  /// Each of them; throws the first Error at the end.
  static void reopen_logs(const List& companions);
  [[nodiscard]] bool is_stopping() const noexcept { return stopping_; }

 private:
  void changed(Companion& companion, State before);
  void settle_soon();
  void settle();
  bool settle_once();
  bool stop_next();
  void drop_removed();
  void start_held_back();
  std::shared_ptr<Companion> hand_over(const std::shared_ptr<Companion>& old);
  bool end_overlaps();
  [[nodiscard]] bool has_namesake(const Companion& companion) const;
  void carry_out(const Change& change, const std::shared_ptr<Companion>& companion);
  void set_alarm();
  void moments_have_come();
  [[nodiscard]] bool is_needed(const Companion& companion) const;
  [[nodiscard]] bool are_met(const std::string& group) const;

  asio::io_context& io_;
  ManagerHooks hooks_;
  Surroundings surroundings_;
  List companions_;
  List removed_;
  /// For all that are started in one turn of the loop.
  std::optional<std::map<std::string, pid_t>> deleted_;
  List held_back_;  ///< to be started when their namesakes are gone
  /// New copies, and the old ones that run until those do.
  std::vector<std::pair<std::shared_ptr<Companion>, std::shared_ptr<Companion>>> overlaps_;
  control::NotifySocket notify_;
  control::Alarm alarm_;
  os::WallTimer wall_timer_;
  std::shared_ptr<bool> settles_ = std::make_shared<bool>(false);
  bool stopping_ = false;
  bool has_ended_ = false;
};

}  // namespace drover::companions
