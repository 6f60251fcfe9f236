// The beginning of a herd: the server is started, or one that runs is taken over.
#pragma once

#include <asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>

#include "lib/flock/watch.h"
#include "lib/herd/herd.h"
#include "lib/herd/output.h"
#include "lib/herd/service.h"
#include "lib/herd/stop.h"
#include "lib/os/children.h"

namespace drover::herd {

enum class Started {
  serves,       ///< it was started, and serves
  taken_over,   ///< it ran already
  refused,      ///< it runs already, and was to be left alone
  not_started,  ///< it did not come up, or was stopped on the way: nothing of it is left
};

/// What the start needs of the herd that it happens in.
struct StartContext {
  const HerdRequest& request;
  const Voice& voice;
  Service& service;
  os::Children& children;
  flock::Watch& watch;
  const Stop& stop;
  std::optional<Output>& output;  ///< is made here
  std::string notify;             ///< the server's NOTIFY_SOCKET; empty: none
  /// Told when it begins to wait for those whom a dead master has left, and when that is over.
  std::function<void(bool)> waiting_for_orphans;
};

/// With `serves` and `taken_over` the service has a current master. Throws Error, os::ExecError.
asio::awaitable<Started> start(const StartContext& context);

/// What to do with workers whose masters have all died, as it was asked for: until nobody holds the
/// lock, but for Orphans::wait, which only says so.
asio::awaitable<void> see_to_orphans(const Service& service, Orphans what,
                                     std::chrono::nanoseconds patience, const Voice& voice);

}  // namespace drover::herd
