#include "lib/herd/readiness.h"

#include <fmt/core.h>

#include <algorithm>

#include "lib/herd/serving.h"

namespace drover::herd {
namespace {

constexpr auto kLeastPatience = std::chrono::seconds(1);

}  // namespace

bool Readiness::look(const std::vector<pid_t>& workers) {
  const auto now = Clock::now();
  const std::set<pid_t> present(workers.begin(), workers.end());
  for (auto worker = seen_.begin(); worker != seen_.end();) {
    if (present.contains(*worker)) {
      ++worker;
      continue;
    }
    ++ended_;
    serving_.erase(*worker);
    worker = seen_.erase(worker);
  }
  seen_.insert(present.begin(), present.end());
  // Where the kernel does not let us look, a worker that lives is taken for one that serves.
  for (const pid_t worker : present)
    if (!serving_.contains(worker) && look_whether_serving(worker, master_) != Serving::not_yet)
      serving_.emplace(worker, now);

  if (present.size() != count_) {
    count_ = present.size();
    count_since_ = now;
  }
  const auto settled = std::count_if(serving_.begin(), serving_.end(), [&](const auto& worker) {
    return now - worker.second >= settle_;
  });
  const auto ready = static_cast<size_t>(settled);
  if (ready == 0) return false;
  const auto unchanged = now - count_since_;
  if (wanted_ > 0 ? ready >= wanted_ : ready == count_ && unchanged >= settle_) return true;
  return unchanged >= std::max<std::chrono::nanoseconds>(10 * settle_, kLeastPatience);
}

std::string Readiness::describe() const {
  std::string text =
      fmt::format("{} of {} workers serve", serving_.size(), std::max(wanted_, seen_.size()));
  if (ended_ > 0) text += fmt::format(", {} have ended", ended_);
  return text;
}

}  // namespace drover::herd
