#include "lib/flock/arrivals.h"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <utility>

#include "lib/os/error.h"
#include "lib/os/timer.h"

namespace drover::flock {
namespace {

// IN_DELETE and IN_MOVED_FROM, as the file is to be closed then: while it is open, a removed folder
// stays in the kernel, and there is no IN_DELETE_SELF.
constexpr uint32_t kEvents = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_OPEN |
                             IN_ATTRIB | IN_CLOSE_NOWRITE | IN_CLOSE_WRITE | IN_DELETE_SELF |
                             IN_MOVE_SELF;
constexpr auto kLookAgain = std::chrono::milliseconds(20);
constexpr int kLooks = 5;

using Clock = std::chrono::steady_clock;

}  // namespace

bool cancelled(const asio::error_code& error) {
  if (error && error != asio::error::operation_aborted) throw std::system_error(error, "wait");
  return static_cast<bool>(error);
}

struct Arrivals::Subscription {
  Subscription(asio::io_context& io, std::string file_path)
      : path(std::move(file_path)), name(os::split_path(path).second), changed(io) {
    (void)is_touched();  // from now on
  }

  /// What one event says about the file.
  void note(uint32_t mask) {
    if ((mask & (IN_CREATE | IN_MOVED_TO | IN_OPEN)) != 0) looks_left = kLooks;
    if ((mask & IN_ATTRIB) != 0 && is_touched()) arrived = true;
    if ((mask & IN_CLOSE_WRITE) != 0) arrived = false;  // touch(1): a holder opens it to read
    if ((mask & IN_CLOSE_NOWRITE) != 0 && arrived) left = true;
    changed.cancel();
  }

  /// Whether its modification time is another one than at the last call: chown(1) and chmod(1)
  /// leave it.
  bool is_touched() {
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) return true;  // and removed since
    const std::pair now{st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    return std::exchange(touched, now) != now;
  }

  int watch = -1;
  std::string path;
  std::string name;
  os::Timer changed;  ///< cancelled when something happened
  int looks_left = 0;
  bool arrived = false;  ///< somebody touched it: a holder that has the lock
  bool left = false;     ///< and somebody closed it afterwards
  bool folder_gone = false;
  std::optional<std::pair<time_t, long>> touched;
};

/// Keeps a subscription for the length of a scope.
class Arrivals::Subscribed {
 public:
  Subscribed(Arrivals& arrivals, const std::string& path)
      : arrivals_(arrivals), alive_(arrivals.self_), subscription(arrivals.io_, path) {
    arrivals_.subscribe(subscription, os::split_path(path).first);
  }
  ~Subscribed() {
    if (!alive_.expired()) arrivals_.unsubscribe(subscription);
  }
  Subscribed(const Subscribed&) = delete;
  Subscribed& operator=(const Subscribed&) = delete;

 private:
  Arrivals& arrivals_;
  std::weak_ptr<const Arrivals*> alive_;

 public:
  Subscription subscription;
};

void Arrivals::subscribe(Subscription& subscription, const std::string& folder) {
  if (!inotify_) {
    inotify_.emplace();
    readable_.emplace(io_, inotify_->fd());
    wait_for_events();
  }
  subscription.watch = inotify_->watch(folder, kEvents);
  subscriptions_.push_back(&subscription);
}

void Arrivals::unsubscribe(Subscription& subscription) {
  std::erase(subscriptions_, &subscription);
  if (!subscriptions_.empty()) return;
  readable_->release();  // the descriptor is the Inotify's to close
  readable_.reset();
  inotify_.reset();
}

void Arrivals::wait_for_events() {
  readable_->async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code error) {
    if (cancelled(error) || !inotify_) return;
    read_events();
    wait_for_events();
  });
}

void Arrivals::read_events() {
  inotify_->read([this](int watch, uint32_t mask, std::string_view name) {
    for (Subscription* subscription : subscriptions_) {
      if ((mask & IN_Q_OVERFLOW) != 0) {
        subscription->note(IN_OPEN);
      } else if (subscription->watch != watch) {
        continue;
      } else if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) != 0) {
        subscription->folder_gone = true;
        subscription->changed.cancel();
      } else if (subscription->name == name) {
        subscription->note(mask);
      }
    }
  });
}

asio::awaitable<Arrival> Arrivals::next(std::string path, os::Deadline deadline) {
  Subscribed subscribed(*this, path);
  Subscription& seen = subscribed.subscription;
  std::optional<LockFile> file;
  for (;;) {
    if (seen.folder_gone) throw Error(ENOENT, "wait for", path, "its folder was removed");
    // One long-lived descriptor: every further open would be an event of our own.
    if (!file || !file->at_path()) file = LockFile::open(path);
    if (file && is_held(*file)) co_return Arrival{Arrival::Kind::holding, std::move(file)};
    if (seen.left) co_return Arrival{Arrival::Kind::came_and_went, std::nullopt};
    if (deadline && Clock::now() >= *deadline) co_return Arrival{};

    auto until = deadline.value_or(Clock::time_point::max());
    if (seen.looks_left > 0) {
      --seen.looks_left;
      until = std::min(until, Clock::now() + kLookAgain);
    }
    seen.changed.expires_at(until);
    asio::error_code woken;
    co_await seen.changed.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

}  // namespace drover::flock
