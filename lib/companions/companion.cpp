#include "lib/companions/companion.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>

#include "lib/companions/keepers.h"
#include "lib/flock/holders.h"
#include "lib/os/error.h"
#include "lib/os/procfs.h"

namespace drover::companions {
namespace {

/// Out of reach of programs that close "all" descriptors up to a usual limit.
constexpr int kFirstHigh = 1025;
/// How often the rest of a group is looked at, behind its main process's end in a stop.
constexpr auto kGroupInterval = std::chrono::milliseconds(100);

using Ticks = std::chrono::steady_clock::duration;
Ticks ticks(Duration duration) { return std::chrono::duration_cast<Ticks>(duration); }

Policy policy_of(const Spec& spec) {
  Policy policy;
  policy.has_needs = !spec.needs.empty();
  policy.is_timed = spec.schedule.has_value();
  policy.has_lock = spec.singleton();
  policy.says_ready = spec.readiness != Readiness::settled;
  policy.restarts_succeeded = spec.restart == Restart::always;
  policy.restarts_failed = spec.restart != Restart::never;
  policy.startsecs = ticks(spec.startsecs);
  policy.stop_timeout = ticks(spec.stop_timeout);
  policy.reload_timeout = ticks(spec.reload_timeout);
  policy.reset_after = ticks(spec.reset_after);
  if (spec.start_timeout) policy.start_timeout = ticks(*spec.start_timeout);
  if (spec.lock_timeout) policy.lock_timeout = ticks(*spec.lock_timeout);
  policy.delay = ticks(spec.restart_delay);
  policy.max_delay = ticks(spec.restart_max_delay);
  policy.factor = spec.restart_factor;
  policy.jitter = spec.restart_jitter;
  policy.max_restarts = spec.max_restarts;
  return policy;
}

}  // namespace

Companion::Companion(Surroundings& surroundings, Spec spec)
    : surroundings_(surroundings),
      spec_(std::move(spec)),
      machine_(policy_of(spec_), surroundings.random) {}

bool Companion::meets_needs() const noexcept {
  const bool has_succeeded = history_.last_exit && is_expected(*history_.last_exit);
  return state() == State::running || (state() == State::exited && has_succeeded);
}

bool Companion::is_expected(os::ExitStatus status) const {
  return WIFEXITED(status.wait_status) &&
         spec_.exit_codes.contains(WEXITSTATUS(status.wait_status));
}

bool Companion::apply(Event event, const std::string& reason) {
  if (!machine_.takes(event)) return false;
  const State before = state();
  const Phase phase = machine_.phase();
  const Act what = machine_.apply(event, std::chrono::steady_clock::now());
  if (machine_.phase() != phase) {
    history_.since = std::chrono::steady_clock::now();
    history_.reason = reason;
    ready_ = state() == State::running;
    set_wall_due();
  }
  surroundings_.changed(*this, before);
  act(what);
  return true;
}

void Companion::set_wall_due() {
  wall_due_.reset();
  if (machine_.phase() == Phase::time && spec_.schedule)
    wall_due_ = spec_.schedule->next(::time(nullptr));
}

std::string Companion::why_no_lock() const {
  std::string reason = "the lock was not free in time";
  try {
    const auto keepers = keepers_of(spec_.lock, pid_);
    if (!keepers.empty()) reason += ": " + describe(keepers.front(), spec_.lock);
  } catch (const Error& error) {  // as without a descriptor for a look at /proc
    reason += fmt::format("; {}", error.what());
  }
  return reason;
}

void Companion::moment_has_come() {
  const auto due = machine_.due();
  const bool is_wall = machine_.phase() == Phase::time;
  if (!is_wall && (!due || *due > std::chrono::steady_clock::now())) {
    look_at_group();
    return;
  }
  switch (machine_.phase()) {
    case Phase::lock:
      apply(Event::due, why_no_lock());
      break;
    case Phase::starting:
      apply(Event::due, spec_.readiness == Readiness::settled ? "" : "it was not ready in time");
      break;
    default:
      apply(Event::due);
  }
}

void Companion::act(Act act) {
  switch (act) {
    case Act::nothing:
      break;
    case Act::launch:
      start();
      break;
    case Act::cancel:
      send(SIGTERM);
      send(SIGCONT);
      break;
    case Act::stop:
      send(spec_.stop_signal);
      send(SIGCONT);
      break;
    case Act::kill:
      ++history_.kills;
      send(SIGKILL);
      surroundings_.warning(fmt::format("'{}' did not stop in time: killed", spec_.name));
      break;
  }
}

/// Its group's number is taken as long as one process of it was not reaped, and all of them are our
/// descendants: nobody else can be meant.
void Companion::send(int number) const noexcept {
  if (group_ > 0 && ::kill(-group_, number) == 0) return;
  if (pid_ > 0) ::kill(pid_, number);  // it does not lead its group yet
}

bool Companion::signal(int number, bool to_group) const {
  if (pid_ == 0) return false;
  if (::kill(to_group ? -group_ : pid_, number) != 0)
    throw Error(errno, fmt::format("send signal {} to", number), spec_.name);
  return true;
}

void Companion::start() {
  try {
    prepare_lock();
    prepare_logs();
    prepare_ready();
    LaunchRequest request{.spec = spec_};
    if (lock_) request.lock = lock_->fd();
    if (output_) request.output = output_->fd();
    if (errors_) request.errors = errors_->fd();
    request.ready = ready_end_.get();
    if (spec_.readiness == Readiness::notify) request.notify = surroundings_.notify;
    Launched launched = launch(request);
    pid_ = group_ = launched.pid;
    ++history_.starts;
    ready_end_.reset();
    if (spec_.holding == Holding::tree) let_go_of_lock();
    progress_.emplace(surroundings_.io, launched.progress.get());
    (void)launched.progress.release();
    watch_progress();
    watch_ready();
  } catch (const std::system_error& error) {  // Error, and what Asio throws
    let_go_of_lock();
    ready_pipe_.reset();
    ready_end_.reset();
    if (pid_ == 0) {
      apply(Event::failed, error.what());
    } else {  // it is there, but nobody would hear how far it has come
      failure_ = error.what();
      send(SIGKILL);
    }
  }
}

void Companion::prepare_lock() {
  if (!spec_.singleton()) return;
  // A new file would be a second lock, beside the one that somebody still has.
  if (!os::file_at(spec_.lock))
    if (std::string deleted = surroundings_.hint_of_deleted(spec_.lock); !deleted.empty())
      throw Error::because(EBUSY, "lock", spec_.lock, deleted);
  lock_ = flock::LockFile::open_or_create(spec_.lock, 0600);
  const os::RaisedDescriptorLimit raised;
  os::Fd high = os::duplicate(lock_->fd(), kFirstHigh, false);
  if (!high) high = os::duplicate(lock_->fd(), std::max(3, spec_.ready_fd + 1), false);
  if (!high) throw Error(errno, "lock", spec_.lock);
  lock_->replace_descriptor(std::move(high));
}

void Companion::prepare_logs() {
  const auto prepare = [this](std::unique_ptr<Log>& log, const std::string& path) {
    if (path.empty()) {
      log.reset();
    } else if (!log || log->path() != path) {
      log = std::make_unique<Log>(surroundings_.io, path, surroundings_.warning);
    }
  };
  prepare(output_, spec_.output);
  prepare(errors_, spec_.errors);
}

void Companion::prepare_ready() {
  ready_pipe_.reset();
  if (spec_.readiness != Readiness::descriptor) return;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, "start", spec_.name);
  ready_end_.reset(ends[1]);
  ready_pipe_.emplace(surroundings_.io, ends[0]);
  ready_pipe_->non_blocking(true);
}

void Companion::say_ready() {
  take_progress();  // that it has the lock may be news, too
  apply(Event::ready);
}

void Companion::watch_ready() {
  if (!ready_pipe_) return;
  ready_pipe_->async_wait(
      asio::posix::stream_descriptor::wait_read, [this](asio::error_code error) {
        if (error || !ready_pipe_) return;
        std::array<char, 512> text;
        const ssize_t size = ::read(ready_pipe_->native_handle(), text.data(), text.size());
        const bool has_line = size > 0 && std::count(text.begin(), text.begin() + size, '\n') > 0;
        if (size == 0 || has_line) {
          ready_pipe_.reset();
          if (has_line) say_ready();
        } else {
          watch_ready();
        }
      });
}

void Companion::watch_progress() {
  progress_->async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code error) {
    if (error || !progress_) return;
    take_progress();
    if (progress_) watch_progress();
  });
}

/// Closes the pipe behind the last piece of news.
void Companion::take_progress() {
  while (progress_) {
    const Progress news = read_progress(progress_->native_handle(), spec_);
    if (news.kind == Progress::Kind::nothing) return;
    if (news.kind == Progress::Kind::locked) {
      apply(Event::locked);
      continue;
    }
    if (news.kind == Progress::Kind::replaced) was_replaced_ = true;
    if (news.kind == Progress::Kind::failed)
      failure_ =
          fmt::format("cannot {}: {}", news.tried, std::generic_category().message(news.err));
    progress_.reset();
  }
}

void Companion::reaped(os::ExitStatus status) {
  take_progress();
  progress_.reset();
  ready_pipe_.reset();
  let_go_of_lock();
  pid_ = 0;
  const std::string failure = std::exchange(failure_, {});
  if (std::exchange(was_replaced_, false) && machine_.phase() == Phase::lock) {
    surroundings_.warning(fmt::format("lock '{}' was replaced: waiting anew", spec_.lock));
    start();
    return;
  }
  ++history_.exits;
  history_.last_exit = status;
  history_.last_exit_at = std::chrono::system_clock::now();
  const bool was_stopping = state() == State::stopping;
  apply(is_expected(status) ? Event::succeeded : Event::failed,
        failure.empty() ? status.describe() : failure);
  if (was_stopping) look_at_group();
}

/// A zombie whose parent has left the group keeps the group's number, and nobody tells of it.
bool Companion::has_living_group() const {
  if (group_ <= 0 || ::kill(-group_, 0) != 0) return false;
  const auto pids = os::all_processes();
  return std::any_of(pids.begin(), pids.end(), [this](pid_t pid) {
    const auto stat = os::read_stat(pid);
    return stat && stat->group == group_ && !stat->zombie();
  });
}

void Companion::look_at_group() {
  if (state() != State::stopping || pid_ != 0) return;
  if (has_living_group()) {
    look_again_ = std::chrono::steady_clock::now() + kGroupInterval;
    return;
  }
  group_ = 0;
  look_again_.reset();
  apply(Event::gone, history_.reason);
}

os::Deadline Companion::due() const noexcept {
  const os::Deadline due = machine_.due();
  if (!look_again_ || state() != State::stopping) return due;
  return due ? std::min(*due, *look_again_) : *look_again_;
}

void Companion::set_spec(Spec spec) {
  spec_ = std::move(spec);
  machine_.set_policy(policy_of(spec_));
  set_wall_due();
  if (machine_.phase() == Phase::time && !spec_.schedule) apply(Event::due);
}

void Companion::reopen_logs() {
  if (output_) output_->reopen();
  if (errors_) errors_->reopen();
}

}  // namespace drover::companions
