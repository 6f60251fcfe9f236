// Whether a generation serves: what is known of its workers, looked at again and again while a
// start or a reload is under way.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace drover::herd {

class Readiness {
 public:
  /// Ready are `wanted` workers that each serve for `settle`; with 0, as many as there are, once
  /// their number has stayed for as long. Where one serves and the number of all of them has stayed
  /// for ten times `settle`, 1 s at least, that is enough: the new version's configuration may ask
  /// for fewer, and behind an accept mutex only one is ever seen to wait.
  /// `sockets_of` is the master that handed the listening sockets down; 0 where it keeps none.
  Readiness(size_t wanted, std::chrono::nanoseconds settle, pid_t sockets_of)
      : wanted_(wanted), settle_(settle), master_(sockets_of) {}

  /// Takes a look at the workers as they are now. True when the generation is ready.
  bool look(const std::vector<pid_t>& workers);
  /// At least one worker serves.
  [[nodiscard]] bool any_serves() const { return !serving_.empty(); }
  /// How many of those that were seen have ended since.
  [[nodiscard]] size_t ended() const { return ended_; }
  /// "1 of 4 workers serves, 3 have ended".
  [[nodiscard]] std::string describe() const;

 private:
  using Clock = std::chrono::steady_clock;

  size_t wanted_;
  std::chrono::nanoseconds settle_;
  pid_t master_;
  std::map<pid_t, Clock::time_point> serving_;  ///< since when
  std::set<pid_t> seen_;
  size_t ended_ = 0;
  size_t count_ = 0;
  Clock::time_point count_since_{};
};

}  // namespace drover::herd
