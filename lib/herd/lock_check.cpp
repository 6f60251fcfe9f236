#include "lib/herd/lock_check.h"

#include <fmt/core.h>

#include <algorithm>

namespace drover::herd {
namespace {

struct Loss {
  LostIn in;
  std::string text;
};

std::string lost_by(const Held& held, const char* master) {
  if (!held.by_master) return fmt::format("the {} does not hold it", master);
  return fmt::format("{} of {} workers hold it", held.workers.holding, held.workers.looked_at);
}

std::optional<Loss> find_loss(const LockHistory& history, size_t at) {
  const Held& before = history.before.at(at);
  if (!before.by_master) return Loss{LostIn::start, "at the start: " + lost_by(before, "master")};
  if (!before.workers.all())
    return Loss{LostIn::fork, "when workers start: " + lost_by(before, "master")};
  if (!history.after) return std::nullopt;
  const Held& after = history.after->at(at);
  if (after.by_all()) return std::nullopt;
  return Loss{LostIn::reload, "in the reload: " + lost_by(after, "new master")};
}

std::string survives(const LockHistory& history, size_t at) {
  const char* what = history.after ? "start, fork and reload" : "start and fork";
  const Held& last = history.after ? history.after->at(at) : history.before.at(at);
  return fmt::format("survives {}: master and {} of {} workers hold it", what, last.workers.holding,
                     last.workers.looked_at);
}

}  // namespace

std::vector<Check> check_locks(const Patient& patient, const std::vector<ScratchLocks::Lock>& locks,
                               const LockHistory& history, const OwnLock& own) {
  const bool own_survives =
      own.held_before && (own.held_after || !history.after) && !own.opened_anew;
  bool high_survives = false;
  for (size_t at = 0; at < locks.size(); ++at)
    if (locks[at].name == "high") high_survives = !find_loss(history, at);

  std::vector<Check> checks;
  for (size_t at = 0; at < locks.size(); ++at) {
    const std::string lock = fmt::format("a lock on descriptor {}", locks[at].number);
    const auto loss = find_loss(history, at);
    Check check{.name = "lock-" + locks[at].name, .text = {}};
    if (!loss) {
      check.text = fmt::format("{} {}", lock, survives(history, at));
    } else if (own_survives) {
      check.text = fmt::format("{} is lost {}; '{}', which the command takes itself, is not", lock,
                               loss->text, own.path);
    } else {
      check.verdict = Check::Verdict::finding;
      check.text = fmt::format("{} is lost {}", lock, loss->text);
      check.cures = cures_of_lost_lock(patient, loss->in, locks[at].number, high_survives);
    }
    checks.push_back(std::move(check));
  }
  return checks;
}

std::optional<Check> check_own_lock(const Patient& patient, const OwnLock& own, bool reloaded) {
  if (!own.held_before) return std::nullopt;
  Check check{.name = "lock-own",
              .text = fmt::format("the command takes '{}' itself and keeps it", own.path)};
  if (own.opened_anew)
    check.text = fmt::format(
        "the hook opens '{}' anew for each worker and forgets it: the garbage collector will let "
        "the lock go while the server runs",
        own.path);
  else if (reloaded && !own.held_after)
    check.text = fmt::format("the command takes '{}' itself and loses it in the reload", own.path);
  else
    return check;
  check.verdict = Check::Verdict::finding;
  check.cures = cures_of_own_lock(patient);
  return check;
}

}  // namespace drover::herd
