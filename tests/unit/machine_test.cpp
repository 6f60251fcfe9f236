#include "lib/companions/machine.h"

#include <algorithm>
#include <string>
#include <type_traits>

#include "tests/unit/catch.h"
#include "tests/unit/machine_support.h"

using namespace drover;
using namespace drover::test;
using namespace std::chrono_literals;

namespace {

// companions 6: a clock on the wall cannot even be told to it.
static_assert(std::is_same_v<Machine::Moment::clock, Clock>);

const Policy kPlain = plain();
const Policy kLock = with([](Policy& p) { p.has_lock = true; });
const Policy kLimited = with([](Policy& p) {
  p.has_lock = true;
  p.lock_timeout = 7s;
});
const Policy kNeeds = with([](Policy& p) { p.has_needs = true; });
const Policy kNeedsLock = with([](Policy& p) { p.has_needs = p.has_lock = true; });
const Policy kCron = with([](Policy& p) { p.is_timed = true; });
const Policy kAll = with([](Policy& p) { p.has_needs = p.is_timed = p.has_lock = true; });
const Policy kReady = with([](Policy& p) {
  p.says_ready = true;
  p.start_timeout = 9s;
});
const Policy kPatient = with([](Policy& p) { p.says_ready = true; });
const Policy kOnFailure = with([](Policy& p) { p.restarts_succeeded = false; });
const Policy kNever = with([](Policy& p) { p.restarts_succeeded = p.restarts_failed = false; });
const Policy kThrice = with([](Policy& p) { p.max_restarts = 3; });

struct Row {
  Policy policy;
  Events before;
  Event on;
  Phase to;
  Act act;
  double due = -1;
};

// The table of the states: from where, on what, to where, what is to be done, until when.
const Row kTable[] = {
    {kPlain, {}, kStart, Phase::starting, Act::launch, 1},
    {kPlain, {}, kRestart, Phase::starting, Act::launch, 1},
    {kLock, {}, kStart, Phase::lock, Act::launch},
    {kLimited, {}, kStart, Phase::lock, Act::launch, 7},
    {kNeeds, {}, kStart, Phase::needs, Act::nothing},
    {kCron, {}, kStart, Phase::time, Act::nothing},
    {kAll, {}, kStart, Phase::needs, Act::nothing},
    {kOnFailure, {kStart, kDone}, kStart, Phase::starting, Act::launch, 1},
    {kOnFailure, {kStart, kDone}, kRestart, Phase::starting, Act::launch, 1},
    {kOnFailure, {kStart, kDone}, kStop, Phase::stopped, Act::nothing},
    {kThrice,
     {kStart, kFailed, kDue, kFailed, kDue, kFailed, kDue},
     kFailed,
     Phase::fatal,
     Act::nothing},
    {kThrice,
     {kStart, kFailed, kDue, kFailed, kDue, kFailed, kDue, kFailed},
     kStart,
     Phase::starting,
     Act::launch,
     1},
    {kThrice,
     {kStart, kFailed, kDue, kFailed, kDue, kFailed, kDue, kFailed},
     kRestart,
     Phase::starting,
     Act::launch,
     1},

    {kNeeds, {kStart}, kMet, Phase::starting, Act::launch, 1},
    {kNeedsLock, {kStart}, kMet, Phase::lock, Act::launch},
    {kAll, {kStart}, kMet, Phase::time, Act::nothing},
    {kAll, {kStart, kMet}, kDue, Phase::lock, Act::launch},
    {kCron, {kStart}, kDue, Phase::starting, Act::launch, 1},
    {kCron, {kStart}, kStart, Phase::starting, Act::launch, 1},
    {kNeeds, {kStart}, kStop, Phase::stopped, Act::nothing},
    {kCron, {kStart}, kStop, Phase::stopped, Act::nothing},
    {kLimited, {kStart}, kLocked, Phase::starting, Act::nothing, 1},
    {kLimited, {kStart}, kDue, Phase::stopping, Act::cancel, 60},
    {kLimited, {kStart, kDue}, kGone, Phase::backoff, Act::nothing, 5},
    {kLock, {kStart}, kStop, Phase::stopping, Act::cancel, 60},
    {kLock, {kStart, kStop}, kGone, Phase::stopped, Act::nothing},
    {kLock, {kStart}, kRestart, Phase::stopping, Act::cancel, 30},
    {kLock, {kStart, kRestart}, kGone, Phase::lock, Act::launch},
    {kLock, {kStart}, kFailed, Phase::backoff, Act::nothing, 5},
    {kLock, {kStart}, kDone, Phase::backoff, Act::nothing, 5},

    {kPlain, {kStart}, kDue, Phase::running, Act::nothing},
    {kPlain, {kStart}, kSaysReady, Phase::running, Act::nothing},
    {kPatient, {}, kStart, Phase::starting, Act::launch},
    {kReady, {}, kStart, Phase::starting, Act::launch, 9},
    {kReady, {kStart}, kSaysReady, Phase::running, Act::nothing},
    {kReady, {kStart}, kDue, Phase::stopping, Act::stop, 60},
    {kReady, {kStart, kDue}, kGone, Phase::backoff, Act::nothing, 5},
    {kPlain, {kStart}, kFailed, Phase::backoff, Act::nothing, 5},
    {kPlain, {kStart, kDue}, kFailed, Phase::backoff, Act::nothing, 5},
    {kPlain, {kStart, kDue}, kDone, Phase::backoff, Act::nothing, 5},
    {kPlain, {kStart, kFailed, kDue}, kDue, Phase::running, Act::nothing, 100},
    {kPlain, {kStart, kFailed, kDue, kDue}, kDue, Phase::running, Act::nothing},
    {kOnFailure, {kStart}, kDone, Phase::exited, Act::nothing},
    {kOnFailure, {kStart, kDue}, kDone, Phase::exited, Act::nothing},
    {kOnFailure, {kStart, kDue}, kFailed, Phase::backoff, Act::nothing, 5},
    {kNever, {kStart, kDue}, kFailed, Phase::exited, Act::nothing},
    {kCron, {kStart, kDue, kDue}, kDone, Phase::time, Act::nothing},
    {kCron, {kStart, kDue, kDue}, kFailed, Phase::time, Act::nothing},
    {kAll, {kStart, kMet, kDue, kLocked}, kDone, Phase::needs, Act::nothing},

    {kPlain, {kStart, kFailed}, kDue, Phase::starting, Act::launch, 1},
    {kLock, {kStart, kFailed}, kDue, Phase::lock, Act::launch},
    {kNeeds, {kStart, kMet, kFailed}, kDue, Phase::needs, Act::nothing},
    {kPlain, {kStart, kFailed}, kStart, Phase::starting, Act::launch, 1},
    {kPlain, {kStart, kFailed}, kRestart, Phase::starting, Act::launch, 1},
    {kPlain, {kStart, kFailed}, kStop, Phase::stopped, Act::nothing},

    {kPlain, {kStart}, kStop, Phase::stopping, Act::stop, 60},  // 14
    {kPlain, {kStart}, kRestart, Phase::stopping, Act::stop, 30},
    {kPlain, {kStart, kDue}, kStop, Phase::stopping, Act::stop, 60},
    {kPlain, {kStart, kDue}, kRestart, Phase::stopping, Act::stop, 30},
    {kPlain, {kStart, kDue, kStop}, kDue, Phase::stopping, Act::kill},
    {kPlain, {kStart, kDue, kStop, kDue}, kDue, Phase::stopping, Act::nothing},
    {kPlain, {kStart, kDue, kStop}, kFailed, Phase::stopping, Act::nothing, 60},
    {kPlain, {kStart, kDue, kStop, kFailed}, kGone, Phase::stopped, Act::nothing},
    {kPlain, {kStart, kDue, kRestart}, kDone, Phase::stopping, Act::nothing, 30},
    {kPlain, {kStart, kDue, kRestart, kDone}, kGone, Phase::starting, Act::launch, 1},
    {kLock, {kStart, kLocked, kRestart}, kGone, Phase::lock, Act::launch},
    {kNeeds, {kStart, kMet, kRestart}, kGone, Phase::needs, Act::nothing},
    {kPlain, {kStart, kDue, kRestart, kStop}, kGone, Phase::stopped, Act::nothing},
};

std::string show(const Row& row) {
  std::string text = "row " + std::to_string(&row - kTable) + ":";
  for (const Event event : row.before)
    text += " " + std::to_string(static_cast<int>(event));
  return text + " then " + std::to_string(static_cast<int>(row.on));
}

struct NotTaken {
  Policy policy;
  Events before;
  Events refused;
};

}  // namespace

TEST_CASE("each row of the table of the states") {
  for (const Row& row : kTable) {
    INFO(show(row));
    Played played(row.policy, row.before);
    CHECK(played.machine.takes(row.on));
    CHECK(played.apply(row.on) == row.act);
    CHECK(played.machine.phase() == row.to);
    CHECK(played.due_in() == row.due);
  }
}

TEST_CASE("what means nothing changes nothing") {
  const Events all = {kStart,     kStop, kRestart, kMet,    kLocked,
                      kSaysReady, kDue,  kDone,    kFailed, kGone};
  const NotTaken rows[] = {
      {kPlain, {}, {kMet, kLocked, kSaysReady, kDue, kDone, kFailed, kGone}},
      {kNeeds, {kStart}, {kStart, kRestart, kLocked, kSaysReady, kDue, kDone, kFailed, kGone}},
      {kCron, {kStart}, {kRestart, kMet, kLocked, kSaysReady, kDone, kFailed, kGone}},
      {kLock, {kStart}, {kStart, kMet, kSaysReady, kGone}},
      {kPlain, {kStart}, {kStart, kMet, kLocked, kGone}},
      {kPlain, {kStart, kDue}, {kStart, kMet, kLocked, kSaysReady, kGone}},
      {kPlain, {kStart, kStop}, {kStart, kRestart, kMet, kLocked, kSaysReady}},  // 17
      {kPlain, {kStart, kFailed}, {kMet, kLocked, kSaysReady, kDone, kFailed, kGone}},
      {kOnFailure, {kStart, kDone}, {kMet, kLocked, kSaysReady, kDue, kDone, kFailed, kGone}},
  };
  for (const NotTaken& row : rows)
    for (const Event event : all) {
      INFO("row " << &row - rows << ", event " << static_cast<int>(event));
      Played played(row.policy, row.before);
      const bool is_refused =
          std::find(row.refused.begin(), row.refused.end(), event) != row.refused.end();
      CHECK(played.machine.takes(event) == !is_refused);
      if (!is_refused) continue;
      const Phase phase = played.machine.phase();
      const double due = played.due_in();
      const bool by_hand = played.machine.stopped_by_hand();
      CHECK(played.apply(event) == Act::nothing);
      CHECK(played.machine.phase() == phase);
      CHECK(played.due_in() == due);
      CHECK(played.machine.stopped_by_hand() == by_hand);
    }
}
