// The watch over a server that serves: which master is gone, who goes on, when nobody is left; and
// over its lock, which is kept for a server that loses it.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <optional>

#include "lib/flock/watch.h"
#include "lib/herd/herd.h"
#include "lib/herd/service.h"
#include "lib/herd/stop.h"
#include "lib/os/children.h"
#include "lib/os/folder_signal.h"

namespace drover::herd {

/// Not for several threads.
class Vigil {
 public:
  Vigil(asio::io_context& io, const HerdRequest& request, const Voice& voice, Service& service,
        os::Children& children, flock::Watch& watch, const Stop& stop)
      : io_(io),
        request_(request),
        voice_(voice),
        service_(service),
        children_(children),
        watch_(watch),
        stop_(stop) {}

  /// A reload that an operator asks the server for is followed, not fought: SIGIO tells of its
  /// pidfile.
  void watch_pidfile();
  void look_at_pidfile();

  /// The server serves. Keeps its lock when it has lost it.
  void begin();
  /// Until nobody of the service is left.
  asio::awaitable<void> service_ended();
  [[nodiscard]] bool ended() const noexcept { return ended_; }

  /// While a reload is under way the masters that come and go are its own to see to. And the lock
  /// is kept: some programs close all descriptors when they execute themselves, and nobody shall
  /// see that.
  void reload_begins();
  /// Whether a server has lost the lock is seen after a reload that was `done`.
  void reload_ended(bool done);

 private:
  asio::awaitable<void> masters_watched();
  void watch_masters();
  asio::awaitable<void> pidfile_written();
  bool keep_lost_lock(const os::Process& master);
  void judge_kept_lock(bool done);
  void let_go_if_held();
  asio::awaitable<void> let_go_when_gone();
  asio::awaitable<void> ended(const os::Process& process);

  asio::io_context& io_;
  const HerdRequest& request_;
  const Voice& voice_;
  Service& service_;
  os::Children& children_;
  flock::Watch& watch_;
  const Stop& stop_;
  std::optional<os::FolderSignal> folder_;
  bool begun_ = false;
  bool reloading_ = false;
  bool looking_ = false;
  bool watching_masters_ = false;
  bool lock_is_lost_ = false;
  bool ended_ = false;
};

}  // namespace drover::herd
