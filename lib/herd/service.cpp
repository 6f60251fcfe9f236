#include "lib/herd/service.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "lib/flock/holders.h"
#include "lib/flock/pidfile.h"
#include "lib/herd/generation.h"
#include "lib/herd/output_process.h"
#include "lib/os/error.h"
#include "lib/os/procfs.h"

namespace drover::herd {
namespace {

const Dialect* plain() { return &dialects().back(); }

/// The words of a title or a command line.
std::vector<std::string> words_of(pid_t pid) {
  std::vector<std::string> words(1);
  for (const char c : os::read_proc(fmt::format("/proc/{}/cmdline", pid), 4096)) {
    if (c != '\0' && c != ' ') {
      words.back() += c;
    } else if (!words.back().empty()) {
      words.emplace_back();
    }
  }
  return words;
}

/// When it was started; of two in one clock tick the lower number first.
std::pair<unsigned long long, pid_t> age_of(const Master& master) {
  const auto stat = os::read_stat(master->pid());
  return {stat ? stat->start : 0, master->pid()};
}

}  // namespace

Service::Service(std::string pidfile, std::string lock, const Dialect* dialect,
                 const std::vector<std::string>& command)
    : pidfile_(std::move(pidfile)),
      lock_(std::move(lock)),
      dialect_(dialect),
      masters_(pidfile_, lock_) {
  if (dialect_ == nullptr) dialect_ = recognize(command);
  recognizes_ = dialect_ == nullptr;
  if (recognizes_) dialect_ = plain();
  masters_.trust_descendants_of(::getpid());
}

Master Service::current() {
  if (!current_ || !current_->alive()) current_ = masters_.current();
  return current_;
}

void Service::set_current(Master master) {
  current_ = std::move(master);
  if (!current_) return;
  if (recognizes_)
    if (const Dialect* running = recognize(words_of(current_->pid()))) dialect_ = running;
  if (dialect_->drops_descriptors) keep_lock();
}

std::vector<Master> Service::generations() {
  masters_.refresh();
  auto living = masters_.living();
  std::sort(living.begin(), living.end(),
            [](const Master& one, const Master& other) { return age_of(one) < age_of(other); });
  return living;
}

std::vector<pid_t> Service::workers_of(pid_t master) const {
  if (dialect_->successor == Successor::in_place) return forked_children_of(master);
  std::vector<pid_t> masters;
  for (const Master& each : masters_.living())
    masters.push_back(each->pid());
  return herd::workers_of(master, masters);
}

std::vector<pid_t> Service::serving_processes(pid_t master) const {
  auto workers = workers_of(master);
  if (workers.empty() && dialect_->successor == Successor::in_place) workers.push_back(master);
  return workers;
}

bool Service::find_master() {
  std::vector<os::Process> all = holders();
  const auto has_worker = [&](const os::Process& process) {
    return std::any_of(all.begin(), all.end(), [&](const os::Process& other) {
      const auto stat = os::read_stat(other.pid());
      return stat && stat->parent == process.pid() && stat->only_forked() && other.alive();
    });
  };
  const auto master = std::find_if(all.begin(), all.end(), has_worker);
  if (master == all.end()) return false;
  masters_.add(std::move(*master));
  return true;
}

bool Service::is_reloading() {
  const auto living = generations();
  if (living.size() != 1 || !dialect_->has_two_masters()) return living.size() > 1;
  const pid_t master = living.front()->pid();
  if (dialect_->successor == Successor::takes_pidfile)
    return flock::read_pidfile(pidfile_ + ".oldbin").pid == master;
  return !successors_of(master).empty();
}

std::optional<flock::LockFile> Service::lock_at_path() const {
  try {
    return flock::LockFile::open(lock_);
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool Service::is_held() const {
  if (kept_) return !processes().empty();
  auto lock = lock_at_path();
  return lock && flock::is_held(*lock);
}

std::vector<os::Process> Service::holders() const {
  std::vector<os::Process> found;
  const auto file = os::file_at(lock_);
  if (!file) return found;
  const auto look = [&](pid_t pid, const flock::Opened& opened) {
    if (!opened.holding()) return;
    auto process = os::Process::open(pid);
    // Between the look and the pidfd the number may have passed to a newcomer.
    if (process && flock::look_at(pid, {&*file, 1}).holding()) found.push_back(std::move(*process));
  };
  flock::visit_openers({&*file, 1}, flock::Whom::others, look);
  return found;
}

void Service::kill() const {
  for (const os::Process& process : processes())
    if (process.may_signal()) (void)process.signal(SIGKILL);
  for (const Master& master : masters_.living())
    (void)master->signal(SIGKILL);
}

bool Service::has_let_go(const os::Process& process) const {
  const auto file = os::file_at(lock_);
  if (!file) return false;
  const flock::Opened opened = flock::look_at(process.pid(), {&*file, 1});
  return opened.readable && !opened.holding();
}

bool Service::keep_lock() {
  if (kept_) return true;
  try {
    auto lock = flock::LockFile::open_or_create(lock_, 0600);
    const auto acquired = flock::acquire(lock, flock::Mode::shared, flock::Patience::none());
    if (acquired != flock::Acquired::yes || !lock.at_path()) return false;
    kept_ = std::move(lock);
  } catch (const Error&) {
    return false;
  }
  return true;
}

std::vector<os::Process> Service::processes() const {
  std::vector<os::Process> found = holders();
  if (!kept_) return found;
  const auto add_tree = [&](pid_t root) {
    for (os::Process& process : tree_of(root, left_out_)) {
      const pid_t pid = process.pid();
      const bool known = std::any_of(found.begin(), found.end(),
                                     [pid](const os::Process& each) { return each.pid() == pid; });
      if (!known && pid != ::getpid() && !copies_output(pid)) found.push_back(std::move(process));
    }
  };
  for (const Master& master : masters_.living())
    add_tree(master->pid());
  add_tree(::getpid());
  return found;
}

bool Service::recognize_holder() {
  auto found = holders();
  if (!pidfile_.empty() || found.empty()) return false;
  const auto descends = [&](const os::Process& process) {
    const auto above = os::ancestors_of(process.pid());
    return std::any_of(found.begin(), found.end(), [&](const os::Process& other) {
      return std::find(above.begin(), above.end(), other.pid()) != above.end();
    });
  };
  const auto first = std::find_if_not(found.begin(), found.end(), descends);
  if (first == found.end()) return false;
  masters_.add(std::move(*first));
  return true;
}

bool Service::recognize_unlocked_master() {
  auto process = flock::named_process(pidfile_);
  if (!process) return false;
  const Dialect* running = recognize(words_of(process->pid()));
  const bool is_server = running != nullptr && (dialect_ == running || recognizes_);
  const bool is_ours = os::environment_of(process->pid())["DROVER_LOCK"] == lock_ ||
                       flock::can_have_written(*process, pidfile_);
  // Looked up behind the pidfd: all of that was this process's.
  if (!is_server || !is_ours || !process->alive()) return false;
  masters_.add(std::move(*process));
  return true;
}

pid_t Service::launcher() const { return launcher_ && !launcher_->status() ? launcher_->pid() : 0; }

std::optional<os::ExitStatus> Service::launcher_status() const {
  return launcher_ ? launcher_->status() : std::nullopt;
}

void Service::reaped(pid_t pid, os::ExitStatus status) {
  if (current_ && pid == current_->pid())
    end_ = fmt::format("master {} {}", pid, status.describe());
}

std::string Service::how_it_ended() const {
  if (!end_.empty()) return end_;
  const auto status = launcher_status();
  return status ? fmt::format("process {} {}", launcher_->pid(), status->describe()) : "";
}

}  // namespace drover::herd
