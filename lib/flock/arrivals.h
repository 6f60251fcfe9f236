// The first holder of a lock, or its successor: seen by the folder's events, without a loop.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/error_code.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "lib/flock/lock_file.h"
#include "lib/os/inotify.h"

namespace drover::flock {

/// Whether an asynchronous wait was called off. Throws std::system_error when it failed.
bool cancelled(const asio::error_code& error);

struct Arrival {
  enum class Kind { holding, came_and_went, nobody } kind = Kind::nobody;
  std::optional<LockFile> file;  ///< with `holding`
};

/// Waits for holders at any number of paths with one inotify instance, which exists only while
/// somebody waits. Not for several threads. Coroutines that are still suspended when it ends are
/// not resumed.
class Arrivals {
 public:
  explicit Arrivals(asio::io_context& io) : io_(io) {}

  /// Until somebody holds the file at `path`, which need not exist yet, or until the deadline. A
  /// holder that came and left before it could be looked at is told too when it was drover-hold or
  /// a hook of ours (both touch the file once they have the lock), and nobody wrote to the file
  /// meanwhile. After an open by somebody else the lock is looked at again at most five times,
  /// every 20 ms. Throws Error when the folder is missing.
  asio::awaitable<Arrival> next(std::string path, os::Deadline deadline);

 private:
  struct Subscription;
  class Subscribed;

  void subscribe(Subscription& subscription, const std::string& folder);
  void unsubscribe(Subscription& subscription);
  void read_events();
  void wait_for_events();

  asio::io_context& io_;
  std::optional<os::Inotify> inotify_;
  std::optional<asio::posix::stream_descriptor> readable_;
  std::vector<Subscription*> subscriptions_;
  /// Tells coroutines that the io_context destroys later whether this object is still there.
  std::shared_ptr<const Arrivals*> self_ = std::make_shared<const Arrivals*>(this);
};

}  // namespace drover::flock
