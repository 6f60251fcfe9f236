#include "lib/herd/succession.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string_view>
#include <utility>

#include "lib/flock/pidfile.h"
#include "lib/herd/generation.h"
#include "lib/herd/output_process.h"
#include "lib/os/procfs.h"

namespace drover::herd {
namespace {

constexpr std::string_view kRefusals = ";failedreloads=";

bool contains(const std::vector<pid_t>& pids, pid_t pid) {
  return std::find(pids.begin(), pids.end(), pid) != pids.end();
}

/// Adds those of `pids` that are children of the master.
void note_children(const os::Process& master, const std::vector<pid_t>& pids,
                   std::vector<os::Process>& noted) {
  for (const pid_t pid : pids) {
    const bool known = std::any_of(noted.begin(), noted.end(), [pid](const auto& process) {
      return process.pid() == pid && process.alive();
    });
    if (known) continue;
    auto process = os::Process::open(pid);
    const auto stat = os::read_stat(pid);
    if (process && stat && stat->parent == master.pid() && process->alive())
      noted.push_back(std::move(*process));
  }
}

/// Another image has its initial data elsewhere (AT_RANDOM and others of getauxval(3)).
std::string image_of(pid_t pid) { return os::read_proc(fmt::format("/proc/{}/auxv", pid)); }

}  // namespace

void Succession::begin(Master old, bool was_asked) {
  old_ = std::move(old);
  at_begin_ = workers_of(old_->pid());
  before_ = os::children_of(old_->pid());
  undecided_ = forked_children_of(old_->pid());
  if (was_asked) {
    const auto begun = successors_of(old_->pid());
    std::erase_if(before_, [&](pid_t child) { return contains(begun, child); });
  }
  ours_ = os::children_of(::getpid());
}

void Succession::before_asking() {
  image_ = image_of(old_->pid());
  refusals_ = refusals_of(*old_);
  (void)has_reaped();
  note();  // the old master may be dead at the first look
  if (dialect_.successor == Successor::same_program) next_ = old_;
}

Succession::Sight Succession::look() {
  if (next_) return Sight::come;
  if (!is_in_place()) return look_for_another();
  if (!old_->alive()) return Sight::master_gone;
  if (!has_executed_itself()) return Sight::nothing;
  next_ = old_;
  return Sight::come;
}

Succession::Sight Succession::look_for_another() {
  masters_.refresh();
  note();
  for (const Master& master : masters_.living())
    if (master->pid() != old_->pid()) {
      next_ = master;
      return Sight::come;
    }
  // It may die before it has written a pidfile; and it may come although the old one has died.
  note_children(*old_, candidates(), came_);
  if (std::any_of(came_.begin(), came_.end(), [](const auto& each) { return each.alive(); }))
    return Sight::nothing;
  if (!came_.empty() || has_reaped()) return Sight::ended;
  return old_->alive() ? Sight::nothing : Sight::master_gone;
}

bool Succession::has_executed_itself() {
  const std::string now = image_of(old_->pid());
  return image_.empty() || (!now.empty() && now != image_);
}

/// See Dialect::processes; 0 where that is not told.
int Succession::refusals_of(const os::Process& master) const {
  if (dialect_.processes.empty()) return 0;
  const std::string told = os::environment_of(master.pid())[std::string(dialect_.processes)];
  const auto own = told.find("type=m;");
  const auto count = told.find(kRefusals, own);
  int refusals = 0;
  if (own != std::string::npos && count < told.find('|', own))
    std::from_chars(told.data() + count + kRefusals.size(), told.data() + told.size(), refusals);
  return refusals;
}

unsigned long long Succession::faults_of_reaped() const {
  const auto stat = os::read_stat(old_->pid());
  return stat ? stat->child_faults : 0;
}

/// The old master has reaped a child that was not there at the last look: a successor that ended
/// between two looks. Zombies are children: that of the last reload may be reaped in this one.
bool Succession::has_reaped() {
  // Before the children: of whoever is reaped in between, both tell.
  const auto faults = faults_of_reaped();
  const auto children = os::children_of(old_->pid());
  const bool all_there = std::all_of(children_seen_.begin(), children_seen_.end(),
                                     [&](pid_t child) { return contains(children, child); });
  // One more may be the successor, before it executes itself.
  if (all_there && faults_seen_) return faults != *faults_seen_;
  children_seen_ = children;
  faults_seen_ = faults_of_reaped();
  return false;
}

/// Who was only forked at the beginning, like a worker, and executes something is none: it may be
/// the next master of a reload that had begun.
void Succession::sort_out_executed() {
  std::erase_if(undecided_, [this](pid_t child) {
    const auto stat = os::read_stat(child);
    if (stat && stat->only_forked()) return false;
    if (stat) {
      std::erase(at_begin_, child);
      std::erase(before_, child);
    }
    return true;
  });
}

void Succession::note() {
  sort_out_executed();
  std::erase_if(new_workers_, [](const os::Process& process) { return !process.alive(); });
  note_children(*old_, workers_of(old_->pid()), old_workers_);
  // A child that has only been forked may be a worker, or about to execute the next master or a
  // helper: these are not to be ended.
  for (os::Process& process : std::exchange(old_workers_, {})) {
    const auto stat = os::read_stat(process.pid());
    if (!process.alive()) continue;
    if ((stat && stat->only_forked()) || contains(at_begin_, process.pid()))
      old_workers_.push_back(std::move(process));
    else if (stat && !contains(before_, process.pid()))
      came_.push_back(std::move(process));  // its parent may be dead by now
  }
  if (next_ && next_ != old_) note_children(*next_, workers_of(next_->pid()), new_workers_);
}

/// Children of the old master that were executed since it was asked.
std::vector<pid_t> Succession::candidates() const {
  std::vector<pid_t> found = executed_children_of(old_->pid());
  std::erase_if(found, [&](pid_t child) { return contains(before_, child); });
  return found;
}

std::vector<pid_t> Succession::workers_of(pid_t master) const {
  if (is_in_place()) return forked_children_of(master);
  std::vector<pid_t> masters;
  for (const Master& each : masters_.living())
    masters.push_back(each->pid());
  return herd::workers_of(master, masters);
}

std::vector<pid_t> Succession::serving_processes() const {
  std::vector<pid_t> workers = workers_of(next_->pid());
  if (is_in_place())
    std::erase_if(workers, [&](pid_t worker) { return contains(before_, worker); });
  if (workers.empty() && at_begin_.empty()) workers.push_back(next_->pid());
  return workers;
}

/// Workers of the successor that have become our children. None when the old master is dead: they
/// might be its.
std::vector<os::Process> Succession::orphans() const {
  std::vector<os::Process> found;
  if (!old_->alive()) return found;
  for (const pid_t pid : os::children_of(::getpid())) {
    if (is_company_ && is_company_(pid)) continue;
    auto process = os::Process::open(pid);
    const auto stat = os::read_stat(pid);
    if (process && stat && stat->only_forked() && stat->command != kOutputName &&
        !contains(ours_, pid) && pid != old_->pid() && process->alive())
      found.push_back(std::move(*process));
  }
  return found;
}

std::vector<os::Process> Succession::take_next_generation() {
  std::vector<os::Process> all = orphans();
  const auto add = [&all](std::vector<os::Process> processes) {
    std::move(processes.begin(), processes.end(), std::back_inserter(all));
  };
  // Alive after the look: then /proc has told of this process, not of one with its number.
  const auto add_tree = [&add](const os::Process& top) {
    std::vector<os::Process> tree = tree_of(top.pid());
    if (top.alive()) add(std::move(tree));
  };
  note_children(*old_, candidates(), came_);
  for (const os::Process& each : came_)
    add_tree(each);
  if (next_) add_tree(*next_);
  add(std::exchange(new_workers_, {}));
  return all;
}

bool Succession::is_named() const { return flock::read_pidfile(pidfile_).pid == old_->pid(); }

bool Succession::is_put_back() const {
  return is_named() && candidates().empty() && workers_of(old_->pid()).size() >= wanted();
}

}  // namespace drover::herd
