// The two generations of one hot reload, as they can be seen: who is the next master, who works for
// whom.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/herd/dialect.h"
#include "lib/herd/masters.h"
#include "lib/os/process.h"

namespace drover::herd {

/// Looks and remembers; signals nobody. To be looked at every kPace while a reload is under way:
/// whoever was seen once is followed by its pidfd, also when its master is gone.
class Succession {
 public:
  /// `is_company` is as in ReloadContext.
  Succession(std::string pidfile, Masters& masters, const Dialect& dialect,
             const std::function<bool(pid_t)>& is_company)
      : pidfile_(std::move(pidfile)),
        masters_(masters),
        dialect_(dialect),
        is_company_(is_company) {}

  /// Notes what is below `old` now. When the server `was_asked` already, those children that may be
  /// the next master are not taken for older ones.
  void begin(Master old, bool was_asked);
  /// To be called right before the server is asked for its next generation.
  void before_asking();

  [[nodiscard]] const Master& old() const noexcept { return old_; }
  /// Null before look() has said `come`.
  [[nodiscard]] const Master& next() const noexcept { return next_; }
  /// How many workers the old master had at the beginning.
  [[nodiscard]] size_t wanted() const noexcept { return at_begin_.size(); }

  enum class Sight {
    nothing,
    come,        ///< next() is the next master; the old one itself where there is no other
    ended,       ///< it has ended before its pidfile told of it
    master_gone  ///< the old master has ended, and nobody follows it
  };
  Sight look();
  /// Of a next master that was seen to end; 0 when not even its number was.
  [[nodiscard]] pid_t ended() const noexcept { return came_.empty() ? 0 : came_.back().pid(); }
  /// Remembers the workers of both.
  void note();

  [[nodiscard]] std::vector<pid_t> workers_of(pid_t master) const;
  /// The processes by which the next generation is known to serve.
  [[nodiscard]] std::vector<pid_t> serving_processes() const;
  [[nodiscard]] const std::vector<os::Process>& old_workers() const noexcept {
    return old_workers_;
  }
  /// The next master, or whoever may have been about to become it, and all below them; also those
  /// who have become our children since the reload began. Forgets them.
  [[nodiscard]] std::vector<os::Process> take_next_generation();

  /// The pidfile names the old master.
  [[nodiscard]] bool is_named() const;
  /// And it has its workers again, and no successor.
  [[nodiscard]] bool is_put_back() const;
  /// The server has refused its new configuration and goes on with the workers that it has.
  [[nodiscard]] bool is_refused() const { return refusals_of(*next_) > refusals_; }
  /// Whether there is one process in both generations.
  [[nodiscard]] bool is_in_place() const { return dialect_.successor == Successor::in_place; }

 private:
  Sight look_for_another();
  bool has_executed_itself();
  [[nodiscard]] unsigned long long faults_of_reaped() const;
  bool has_reaped();
  void sort_out_executed();
  [[nodiscard]] int refusals_of(const os::Process& master) const;
  [[nodiscard]] std::vector<pid_t> candidates() const;
  [[nodiscard]] std::vector<os::Process> orphans() const;

  const std::string pidfile_;
  Masters& masters_;
  const Dialect& dialect_;
  const std::function<bool(pid_t)>& is_company_;
  Master old_;
  Master next_;
  std::vector<pid_t> at_begin_;    ///< the old master's workers
  std::vector<pid_t> before_;      ///< the old master's children
  std::vector<pid_t> undecided_;   ///< of these, who has yet to execute anything
  std::vector<pid_t> ours_;        ///< and the children of this process
  std::vector<os::Process> came_;  ///< those that are the next master, perhaps
  std::vector<os::Process> old_workers_;
  std::vector<os::Process> new_workers_;
  std::vector<pid_t> children_seen_;  ///< the old master's, dead ones too
  std::optional<unsigned long long> faults_seen_;
  std::string image_;
  int refusals_ = 0;  ///< the old master's
};

}  // namespace drover::herd
