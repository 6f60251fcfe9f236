#include "lib/herd/relay.h"

#include <fmt/core.h>

#include <asio/co_spawn.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <set>

#include "lib/flock/departure.h"
#include "lib/herd/masters.h"
#include "lib/os/error.h"
#include "lib/os/folder_signal.h"
#include "lib/os/memory.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"
#include "lib/os/taken_signals.h"
#include "lib/os/timer.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;
using Descriptor = asio::posix::stream_descriptor;

/// A pidfile that was just made may be empty for a moment (nginx writes it after creating it).
constexpr auto kLookAgain = std::chrono::milliseconds(20);
constexpr int kLooks = 50;

bool is_stop(int number) { return number == SIGTERM || number == SIGINT || number == SIGQUIT; }

sigset_t taken_signals(bool winch) {
  sigset_t set =
      os::signal_set({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGIO});
  if (winch) sigaddset(&set, SIGWINCH);
  return set;
}

class Relay {
 public:
  Relay(const RelayRequest& request, const flock::Notice& notice, const flock::Notice& warning)
      : request_(request),
        path_(request.wait.paths.at(0)),
        notice_(notice),
        warning_(warning),
        masters_(request.pidfile, path_),
        signals_(io_, taken_signals(request.winch), [this](int number) { handle(number); }),
        limit_(io_),
        look_again_(io_),
        watch_(io_, request.wait.watch, notice) {
    watch_.on_free([this] {
      if (stop_) watch_.expect_no_successor();
      stop_.reset();  // who comes now was not meant
    });
  }

  RelayResult run() {
    std::exception_ptr failure;
    asio::co_spawn(io_, service_life(), [&](const std::exception_ptr& error) {
      failure = error;
      io_.stop();
    });
    io_.poll();  // the first look comes before any limit
    os::release_free_memory();
    if (request_.wait.limit) {
      limit_.expires_at(*request_.wait.limit);
      limit_.async_wait([this](asio::error_code error) {
        if (!flock::cancelled(error)) io_.stop();
      });
    }
    io_.run();
    if (failure) std::rethrow_exception(failure);
    if (!begun_ && result_.stopped_by == 0) flock::throw_nobody_came(path_);
    if (result_.wait.gone) say_the_end();
    return result_;
  }

 private:
  asio::awaitable<void> service_life() {
    auto file = co_await watch_.begun(path_);
    begun_ = true;
    file_ = os::file_at(path_);
    if (auto lock = lock_at_path()) masters_.remember(std::move(*lock));
    watch_pidfile();
    if (file) co_await watch_.ended(std::move(*file));
    for (;;) {
      flock::wait_for_exiting_processes(Clock::now() + std::chrono::seconds(1));
      refresh();
      Master left;
      for (const Master& master : masters_.living())
        if (!is_of_next_generation(*master)) left = master;
      if (!left) break;
      co_await outlived_lock(*left);
      // A hook of the new generation may have taken the lock meanwhile.
      auto again = lock_at_path();
      if (again && flock::is_held(*again)) co_await watch_.ended(std::move(*again));
    }
    result_.wait = {true, path_};
  }

  void say_the_end() const {
    if (!stop_ever_)
      notice_(fmt::format("the last process of '{}' is gone; no stop was passed on", path_));
    if (!masters_.known().empty()) flock::report_end(*masters_.known().back(), notice_);
  }

  /// Empty also when something that is no lock file has been put there: the wait goes on.
  [[nodiscard]] std::optional<flock::LockFile> lock_at_path() const {
    try {
      return flock::LockFile::open(path_);
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  /// The lock is free, but this master lives: it has closed the descriptor.
  asio::awaitable<void> outlived_lock(const os::Process& master) {
    warning_(
        fmt::format("'{}' is free, but its master, process {}, lives: the reload closed the lock's "
                    "descriptor; waiting for the process instead",
                    path_, master.pid()));
    warning_(
        "hint: take the lock with 'drover-hold --fd high' (its default; survives unicorn) or in a "
        "hook (drover.rb, drover.py), or keep it with 'drover-hold --guard'");
    os::Fd copy = os::duplicate(master.fd(), 3, false);
    if (!copy) throw Error(errno, "watch process", std::to_string(master.pid()));
    Descriptor pidfd(io_, copy.release());
    co_await pidfd.async_wait(Descriptor::wait_read, asio::use_awaitable);
  }

  /// Learns of each new master while its parent, the old one, still vouches for it.
  void watch_pidfile() {
    try {
      folder_.emplace(os::split_path(request_.pidfile).first);
    } catch (const Error& error) {
      warning_(fmt::format("{}; signals are relayed all the same", error.what()));
    }
    look_at_pidfile(kLooks);
  }

  void look_at_pidfile(int looks) {
    const bool found = refresh();
    watch_master();
    if (!found && looks == 0 && masters_.known().empty() && !told_that_unknown_) {
      told_that_unknown_ = true;
      notice_(fmt::format("no master is known yet, no signal can be passed on: {}",
                          masters_.problem()));
    }
    if (found || looks == 0) return;
    look_again_.expires_after(kLookAgain);
    look_again_.async_wait([this, looks](asio::error_code error) {
      if (!flock::cancelled(error)) look_at_pidfile(looks - 1);
    });
  }

  /// Says when the current master ends and the service does not.
  void watch_master() {
    const auto living = masters_.living();
    if (living.empty() || living.back()->pid() == watched_) return;
    os::Fd copy = os::duplicate(living.back()->fd(), 3, false);
    if (!copy) return;
    watched_ = living.back()->pid();
    master_.emplace(io_, copy.release());
    master_->async_wait(Descriptor::wait_read, [this](asio::error_code error) {
      if (!flock::cancelled(error)) master_has_ended();
    });
  }

  void master_has_ended() {
    refresh();
    if (!masters_.living().empty()) {
      watch_master();
      return;
    }
    const auto lock = lock_at_path();
    if (!lock) return;
    size_t left = 0;
    flock::visit_openers({&lock->id(), 1}, flock::Whom::others,
                         [&left](pid_t, const flock::Opened& opened) {
                           if (opened.holding()) ++left;
                         });
    if (left > 0)
      notice_(fmt::format("master {} is gone; processes that still hold '{}': {}", watched_, path_,
                          left));
  }

  void handle(int number) {
    if (number == SIGIO) {
      if (begun_) look_at_pidfile(kLooks);
      return;
    }
    if (begun_) {
      pass_on(number == SIGTERM ? request_.stop_signal : number, is_stop(number));
    } else if (is_stop(number)) {
      notice_(
          fmt::format("stopped by {} before anybody held '{}'", os::signal_name(number), path_));
      result_.stopped_by = number;
      io_.stop();
    } else {
      warning_(
          fmt::format("cannot relay {}: nobody holds '{}' yet", os::signal_name(number), path_));
    }
  }

  /// Whether this master holds another file at the path than the one that is waited for: the
  /// service was started anew (drover-hold --new).
  [[nodiscard]] bool is_of_next_generation(const os::Process& master) const {
    const auto now = os::file_at(path_);
    return now && now != file_ && flock::look_at(master.pid(), {&*now, 1}).holding();
  }

  /// Learns which masters there are. One that comes after a stop was asked for, as a hot reload was
  /// under way, is stopped as well.
  bool refresh() {
    const bool found = masters_.refresh();
    if (stop_) stop_all();
    return found;
  }

  void pass_on(int number, bool stop) {
    const Master current = masters_.current();
    if (stop) {
      stop_ = number;
      stop_ever_ = true;
      stopped_.clear();
      file_ = os::file_at(path_);
    }
    if (!current) {
      warning_(fmt::format("cannot relay {}: {}", os::signal_name(number), masters_.problem()));
      return;
    }
    if (!stop) {
      send(*current, number);
      return;
    }
    stop_all();
  }

  void stop_all() {
    for (const Master& master : masters_.living())
      if (!is_of_next_generation(*master) && stopped_.insert(master->pid()).second)
        send(*master, *stop_);
  }

  void send(const os::Process& master, int number) {
    try {
      notice_(fmt::format("{} {} to master {}",
                          master.signal(number) ? "passed" : "too late to pass",
                          os::signal_name(number), master.pid()));
    } catch (const Error& error) {
      warning_(error.what());
    }
  }

  const RelayRequest& request_;
  const std::string path_;
  const flock::Notice& notice_;
  const flock::Notice& warning_;
  Masters masters_;
  bool begun_ = false;
  bool told_that_unknown_ = false;
  RelayResult result_;

  asio::io_context io_{1};
  os::TakenSignals signals_;
  os::Timer limit_;
  os::Timer look_again_;
  std::optional<os::FileId> file_;  ///< the lock file of the generation that is waited for
  std::optional<int> stop_;         ///< the stop that was passed on last
  std::set<pid_t> stopped_;         ///< who got it
  bool stop_ever_ = false;
  pid_t watched_ = 0;
  std::optional<Descriptor> master_;  ///< the pidfd of the process `watched_`
  std::optional<os::FolderSignal> folder_;
  flock::Watch watch_;
};

}  // namespace

RelayResult wait_and_relay(const RelayRequest& request, const flock::Notice& notice,
                           const flock::Notice& warning) {
  if (!os::proc_is_ours())
    throw Error::because(ENOPKG, "relay signals to the master in", request.pidfile,
                         "/proc does not show this pid namespace",
                         "mount a /proc of this namespace, as 'unshare --mount-proc' does");
  os::block_signals(taken_signals(request.winch));
  return Relay(request, notice, warning).run();
}

}  // namespace drover::herd
