#include "lib/herd/vigil.h"

#include <fmt/core.h>

#include <asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <string>
#include <utility>

#include "lib/flock/departure.h"
#include "lib/herd/background.h"
#include "lib/herd/pace.h"
#include "lib/herd/start.h"
#include "lib/os/error.h"

namespace drover::herd {
namespace {

constexpr auto kPidfileWritten = std::chrono::seconds(1);
constexpr auto kExiting = std::chrono::seconds(1);

void wait_for_exiting_processes() {
  flock::wait_for_exiting_processes(std::chrono::steady_clock::now() + kExiting);
}

}  // namespace

void Vigil::begin() {
  begun_ = true;
  in_background(io_, voice_, masters_watched());
  if (service_.is_held()) return;
  wait_for_exiting_processes();
  if (const Master master = service_.current()) keep_lost_lock(*master);
}

asio::awaitable<void> Vigil::service_ended() {
  for (;;) {
    if (auto lock = service_.lock_at_path();
        lock && (service_.keeps_lock() || flock::is_held(*lock)))
      co_await watch_.ended(std::move(*lock));
    wait_for_exiting_processes();
    const auto generations = service_.generations();
    if (generations.empty()) break;
    if (!keep_lost_lock(*generations.back())) co_await ended(*generations.back());
  }
  ended_ = true;
  children_.reap();  // who has ended tells how
}

asio::awaitable<void> Vigil::ended(const os::Process& process) {
  os::Fd copy = os::duplicate(process.fd(), 3, false);
  if (!copy) throw Error(errno, "watch process", std::to_string(process.pid()));
  asio::posix::stream_descriptor pidfd(io_, copy.release());
  co_await pidfd.async_wait(pidfd.wait_read, asio::use_awaitable);
}

// Masters.

/// Says when only workers are left, and does with them what was asked for. A lock that was kept is
/// let go when nobody is left: so everybody learns of the end in one way.
asio::awaitable<void> Vigil::masters_watched() {
  watching_masters_ = true;
  while (const Master master = service_.current()) {
    co_await ended(*master);
    children_.reap();
    // Its successor may be on its way up: the reload follows it.
    if (!service_.current()) co_await until([this] { return !reloading_ || ended_; }, {});
    const Master next = service_.current();
    if (ended_) co_return;
    if (next && !reloading_ && !stop_.asked())
      voice_.notice(
          fmt::format("master {} is gone, master {} goes on", master->pid(), next->pid()));
  }
  if (!stop_.asked() && service_.is_held())
    co_await see_to_orphans(service_, request_.orphans, request_.stop_timeout, voice_);
  watching_masters_ = false;
  co_await let_go_when_gone();
}

/// A master that comes after all the others had gone is one to be watched, too.
void Vigil::watch_masters() {
  if (begun_ && !watching_masters_ && !ended_ && service_.current())
    in_background(io_, voice_, masters_watched());
}

void Vigil::watch_pidfile() {
  if (request_.pidfile.empty()) return;
  try {
    folder_.emplace(os::split_path(request_.pidfile).first);
  } catch (const Error& error) {
    voice_.warning(error.what());
  }
}

void Vigil::look_at_pidfile() {
  if (looking_ || reloading_) return;
  if (service_.masters().refresh()) return watch_masters();
  looking_ = true;
  in_background(io_, voice_, pidfile_written());
}

asio::awaitable<void> Vigil::pidfile_written() {
  const auto written = [this] { return service_.masters().refresh(); };
  if (co_await until(written, in(kPidfileWritten))) watch_masters();
  looking_ = false;
}

// The lock.

/// Once it has happened it will happen at each reload.
bool Vigil::keep_lost_lock(const os::Process& master) {
  const bool kept = service_.keep_lock();
  if (std::exchange(lock_is_lost_, true)) return kept;
  voice_.warning(fmt::format(
      "master {} lives, but nobody of it holds '{}': it has closed the lock's descriptor; {}",
      master.pid(), request_.lock,
      kept ? "keeping the lock for it" : "watching the process instead"));
  return kept;
}

void Vigil::reload_begins() {
  reloading_ = true;
  service_.keep_lock();
}

void Vigil::reload_ended(bool done) {
  judge_kept_lock(done);
  reloading_ = false;
}

void Vigil::judge_kept_lock(bool done) {
  if (service_.dialect().drops_descriptors || lock_is_lost_) return;
  if (done) {
    let_go_if_held();
  } else {
    service_.let_go();
  }
}

void Vigil::let_go_if_held() {
  const Master current = service_.current();
  if (!current) {
    in_background(io_, voice_, let_go_when_gone());
  } else if (!service_.holders().empty()) {
    service_.let_go();
  } else if (service_.has_let_go(*current)) {
    keep_lost_lock(*current);
  }
}

asio::awaitable<void> Vigil::let_go_when_gone() {
  for (auto left = service_.processes(); service_.keeps_lock(); left = service_.processes()) {
    if (left.empty()) {
      service_.let_go();
    } else {
      co_await ended(left.front());
    }
  }
}

}  // namespace drover::herd
