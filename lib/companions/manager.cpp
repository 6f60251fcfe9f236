#include "lib/companions/manager.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <asio/post.hpp>
#include <cerrno>
#include <exception>
#include <random>
#include <utility>

#include "lib/flock/holders.h"
#include "lib/os/error.h"
#include "lib/os/procfs.h"

namespace drover::companions {
namespace {

using Clock = std::chrono::steady_clock;

bool is_down(const Companion& companion) {
  switch (companion.state()) {
    case State::stopped:
    case State::exited:
    case State::fatal:
      return true;
    default:
      return false;
  }
}

/// It does not run, and is not to.
bool stays_down(const Companion& companion) {
  const bool is_on_its_way = companion.state() == State::stopping && !companion.machine().returns();
  return companion.state() == State::stopped || is_on_its_way;
}

Machine::Random make_random() {
  return [engine = std::make_shared<std::mt19937>(std::random_device{}())] {
    return std::uniform_real_distribution<double>(0, 1)(*engine);
  };
}

}  // namespace

std::string_view name_of(Change::Kind kind) {
  switch (kind) {
    case Change::Kind::none:
      return "none";
    case Change::Kind::add:
      return "add";
    case Change::Kind::remove:
      return "remove";
    case Change::Kind::restart:
      return "restart";
    case Change::Kind::apply:
      return "apply";
  }
  return "?";
}

void Manager::prepare(const Specs& specs) {
  const std::string& folder = specs.run_dir;
  if (folder.empty() || ::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return;
  throw Error(errno, "make the folder of the locks", folder);
}

Manager::Manager(asio::io_context& io, Specs specs, ManagerHooks hooks)
    : io_(io),
      hooks_(std::move(hooks)),
      surroundings_{io,
                    hooks_.warning,
                    make_random(),
                    {},
                    [this](const std::string& lock) {
                      if (!deleted_) deleted_ = flock::deleted_files_in_use();
                      return flock::hint_of_deleted(lock, *deleted_);
                    },
                    [this](Companion& companion, State before) { changed(companion, before); }},
      notify_(
          io, "", [this](const control::NotifyMessage& message) { heard(message); },
          hooks_.warning),
      alarm_(io),
      wall_timer_(io, [this] { moments_have_come(); }) {
  surroundings_.notify = notify_.name();
  prepare(specs);
  for (Spec& spec : specs.companions)
    companions_.push_back(std::make_shared<Companion>(surroundings_, std::move(spec)));
}

void Manager::begin() {
  for (const auto& companion : List(companions_))
    if (companion->spec().autostart) companion->apply(Event::start);
  settle_soon();
}

void Manager::reaped(pid_t pid, os::ExitStatus status) {
  for (const auto& companion : List(companions_)) {
    if (companion->pid() == pid) companion->reaped(status);
    companion->look_at_group();
  }
}

void Manager::heard(const control::NotifyMessage& message) {
  if (!message.says("READY", "1")) return;
  auto above = os::ancestors_of(message.pid);
  above.push_back(message.pid);
  for (const auto& companion : List(companions_))
    if (companion->spec().readiness == Readiness::notify &&
        std::find(above.begin(), above.end(), companion->pid()) != above.end())
      companion->say_ready();
}

Manager::List Manager::find(const std::string& name) const {
  List found;
  for (const auto& companion : companions_)
    if ((companion->spec().name == name || companion->spec().group == name) &&
        !is_being_removed(*companion))
      found.push_back(companion);
  return found;
}

bool Manager::is_being_removed(const Companion& companion) const {
  return std::any_of(removed_.begin(), removed_.end(),
                     [&](const auto& each) { return each.get() == &companion; });
}

bool Manager::are_met(const std::string& group) const {
  const List needed = find(group);
  return !needed.empty() && std::all_of(needed.begin(), needed.end(),
                                        [](const auto& each) { return each->meets_needs(); });
}

std::vector<std::string> Manager::unmet_needs(const Companion& companion) const {
  std::vector<std::string> unmet;
  for (const std::string& group : companion.spec().needs)
    if (!are_met(group)) unmet.push_back(group);
  return unmet;
}

/// Whether somebody who is not down needs it.
bool Manager::is_needed(const Companion& companion) const {
  return std::any_of(companions_.begin(), companions_.end(), [&](const auto& other) {
    const auto& needs = other->spec().needs;
    return !is_down(*other) &&
           std::find(needs.begin(), needs.end(), companion.spec().group) != needs.end();
  });
}

// What one change brings about for others is done a turn of the loop later: a companion is never
// told of an event while it is busy with another one.

void Manager::changed(Companion& companion, State before) {
  if (companion.state() != before) hooks_.moved(companion, before);
  settle_soon();
}

void Manager::settle_soon() {
  if (std::exchange(*settles_, true)) return;
  asio::post(io_, [this, settles = std::weak_ptr<bool>(settles_)] {
    const auto here = settles.lock();
    if (!here) return;
    *here = false;
    settle();
  });
}

void Manager::settle() {
  deleted_.reset();
  while (settle_once()) {
  }
  drop_removed();
  start_held_back();
  set_alarm();
  if (!stopping_ || has_ended_) return;
  has_ended_ = std::all_of(companions_.begin(), companions_.end(),
                           [](const auto& each) { return is_down(*each); });
  if (has_ended_) hooks_.ended();
}

bool Manager::settle_once() {
  if (stopping_) return stop_next();
  bool has_changed = false;
  for (const auto& companion : List(companions_))
    if (companion->machine().phase() == Phase::needs && unmet_needs(*companion).empty())
      has_changed = companion->apply(Event::needs_met) || has_changed;
  return end_overlaps() || has_changed;
}

bool Manager::stop_next() {
  bool has_changed = false;
  for (const auto& companion : List(companions_)) {
    const State state = companion->state();
    const bool serves = state == State::starting || state == State::running;
    const bool is_up = !is_down(*companion) && !stays_down(*companion);
    if (is_up && !(serves && is_needed(*companion)))
      has_changed = companion->apply(Event::stop, "the manager stops") || has_changed;
  }
  return has_changed;
}

void Manager::drop_removed() {
  const auto is_over = [](const auto& companion) { return is_down(*companion); };
  for (const auto& companion : removed_)
    if (is_over(companion)) std::erase(companions_, companion);
  std::erase_if(removed_, is_over);
}

bool Manager::has_namesake(const Companion& companion) const {
  return std::any_of(removed_.begin(), removed_.end(),
                     [&](const auto& each) { return each->spec().name == companion.spec().name; });
}

void Manager::start_held_back() {
  for (const auto& companion : std::exchange(held_back_, {}))
    if (!stopping_ && !is_being_removed(*companion)) {
      if (has_namesake(*companion)) {
        held_back_.push_back(companion);
      } else if (companion->state() == State::stopped && !companion->machine().stopped_by_hand()) {
        companion->apply(Event::start);
      }
    }
}

void Manager::set_alarm() {
  os::Deadline next;
  std::optional<time_t> wall;
  for (const auto& companion : companions_) {
    const auto due = companion->due();
    if (due && (!next || *due < *next)) next = due;
    const auto on_the_wall = companion->due_on_the_wall();
    if (on_the_wall && (!wall || *on_the_wall < *wall)) wall = on_the_wall;
  }
  wall_timer_.set(wall);
  if (!next) {
    alarm_.cancel();
    return;
  }
  alarm_.set(std::max(*next - Clock::now(), Clock::duration::zero()),
             [this] { moments_have_come(); });
}

void Manager::moments_have_come() {
  const auto now = Clock::now();
  const time_t on_the_wall = ::time(nullptr);
  for (const auto& companion : List(companions_)) {
    const auto due = companion->due();
    const auto wall = companion->due_on_the_wall();
    if ((due && *due <= now) || (wall && *wall <= on_the_wall)) companion->moment_has_come();
  }
  settle_soon();
}

std::vector<Change> Manager::plan(const Specs& specs) const {
  std::vector<Change> changes;
  for (const Spec& spec : specs.companions) {
    const List found = find(spec.name);
    const auto old = std::find_if(found.begin(), found.end(),
                                  [&](const auto& each) { return each->spec().name == spec.name; });
    Change change{Change::Kind::add, spec.name, {}};
    if (old != found.end()) {
      change.keys = differing_keys((*old)->spec(), spec);
      const bool lives_on = std::all_of(change.keys.begin(), change.keys.end(), applies_live);
      change.kind = change.keys.empty() ? Change::Kind::none
                    : stays_down(**old) ? Change::Kind::apply
                    : lives_on          ? Change::Kind::apply
                                        : Change::Kind::restart;
    }
    changes.push_back(std::move(change));
  }
  for (const auto& companion : companions_) {
    const auto& name = companion->spec().name;
    const bool stays = std::any_of(specs.companions.begin(), specs.companions.end(),
                                   [&](const Spec& spec) { return spec.name == name; });
    if (!stays && !is_being_removed(*companion))
      changes.push_back({Change::Kind::remove, name, {}});
  }
  return changes;
}

std::vector<Change> Manager::reread(Specs specs) {
  prepare(specs);
  auto changes = plan(specs);
  List order;
  for (Spec& spec : specs.companions) {
    const auto change = std::find_if(changes.begin(), changes.end(),
                                     [&](const Change& each) { return each.name == spec.name; });
    if (change->kind == Change::Kind::add) {
      order.push_back(std::make_shared<Companion>(surroundings_, std::move(spec)));
      continue;
    }
    const List found = find(spec.name);
    const auto companion = *std::find_if(found.begin(), found.end(), [&](const auto& each) {
      return each->spec().name == spec.name;
    });
    companion->set_spec(std::move(spec));
    order.push_back(companion);
  }
  for (const auto& companion : companions_)
    if (std::find(order.begin(), order.end(), companion) == order.end()) {
      if (!is_being_removed(*companion)) removed_.push_back(companion);
      order.push_back(companion);
    }
  companions_ = order;
  for (const Change& change : changes)
    for (const auto& companion : order) {
      const bool is_removal = change.kind == Change::Kind::remove;
      if (companion->spec().name == change.name && is_being_removed(*companion) == is_removal)
        carry_out(change, companion);
    }
  settle_soon();
  return changes;
}

void Manager::carry_out(const Change& change, const std::shared_ptr<Companion>& companion) {
  switch (change.kind) {
    case Change::Kind::add:
      if (companion->spec().autostart) held_back_.push_back(companion);
      break;
    case Change::Kind::remove:
      companion->apply(Event::stop, "it was removed from the configuration");
      break;
    case Change::Kind::restart:
      companion->apply(Event::restart, "its configuration has changed");
      break;
    case Change::Kind::apply:
    case Change::Kind::none:
      break;
  }
}

void Manager::reopen_logs(const List& companions) {
  std::exception_ptr failure;
  for (const auto& companion : companions) {
    try {
      companion->reopen_logs();
    } catch (const Error&) {
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

void Manager::server_reloaded() {
  constexpr const char* kWhy = "the server was reloaded";
  for (const auto& companion : List(companions_)) {
    const State state = companion->state();
    const bool serves = state == State::starting || state == State::running;
    if (!companion->spec().with_server || is_being_removed(*companion)) continue;
    if (serves && companion->spec().handover != Handover::stop_first) {
      const auto fresh = hand_over(companion);
      if (companion->spec().handover == Handover::overlap) {
        overlaps_.emplace_back(fresh, companion);
      } else {
        companion->apply(Event::stop, kWhy);
      }
    } else if (!stays_down(*companion) && state != State::exited) {
      companion->apply(Event::restart, kWhy);
    }
  }
}

/// A new copy is started; the old one is behind all others from now on.
std::shared_ptr<Companion> Manager::hand_over(const std::shared_ptr<Companion>& old) {
  auto fresh = std::make_shared<Companion>(surroundings_, old->spec());
  *std::find(companions_.begin(), companions_.end(), old) = fresh;
  companions_.push_back(old);
  removed_.push_back(old);
  fresh->apply(Event::start);
  return fresh;
}

/// A new copy that does not come up leaves the old one running.
bool Manager::end_overlaps() {
  bool has_changed = false;
  for (const auto& [fresh, old] : std::exchange(overlaps_, {})) {
    if (is_down(*old)) continue;
    if (fresh->state() == State::running) {
      has_changed = old->apply(Event::stop, "its successor runs") || has_changed;
    } else if (fresh->state() == State::stopped) {
      has_changed = old->apply(Event::stop, "its successor was stopped") || has_changed;
    } else {
      overlaps_.emplace_back(fresh, old);
    }
  }
  return has_changed;
}

void Manager::stop_all() {
  stopping_ = true;
  settle_soon();
}

}  // namespace drover::companions
