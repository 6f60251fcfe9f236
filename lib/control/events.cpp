#include "lib/control/events.h"

#include <fmt/core.h>

#include <chrono>
#include <ctime>
#include <deque>
#include <set>
#include <string>

namespace drover::control {
namespace {

/// How much is handed to a client's socket before its pace is waited for.
constexpr size_t kAhead = 64 << 10;

}  // namespace

struct Events::Ring {
  Bounds bounds;
  std::deque<std::string> lines = {};
  size_t bytes = 0;
  uint64_t last = 0;
  std::set<Reply*> followers = {};

  [[nodiscard]] uint64_t first() const { return last + 1 - lines.size(); }

  void add(std::string line) {
    bytes += line.size();
    lines.push_back(std::move(line));
    while (lines.size() > 1 && (lines.size() > bounds.count || bytes > bounds.bytes)) {
      bytes -= lines.front().size();
      lines.pop_front();
    }
  }

  /// Hands over what the client has room for. Returns the number of the last event that it has.
  uint64_t hand_over(Reply& reply, uint64_t had) const {
    if (had + 1 < first()) {
      reply.event({{"event", "lost"}, {"count", first() - had - 1}});
      had = first() - 1;
    }
    while (had < last && !reply.gone() && reply.connection_.unsent() < kAhead)
      reply.line(lines[++had - first()]);
    return had;
  }
};

Events::Events(Bounds bounds) : ring_(std::make_shared<Ring>(Ring{.bounds = bounds})) {}

uint64_t Events::publish(const Json& event) {
  Json whole = event;
  whole["seq"] = ++ring_->last;
  whole["at"] = time_of_day();
  ring_->add(as_line(whole));
  for (Reply* follower : ring_->followers)
    follower->wake();
  return ring_->last;
}

uint64_t Events::last() const { return ring_->last; }

asio::awaitable<void> Events::follow(Reply& reply, std::optional<uint64_t> since) const {
  const auto ring = ring_;
  const struct Following {
    Following(Ring& where, Reply& who) : ring(where), reply(who) { ring.followers.insert(&reply); }
    ~Following() { ring.followers.erase(&reply); }
    Following(const Following&) = delete;
    Following& operator=(const Following&) = delete;
    Ring& ring;
    Reply& reply;
  } following(*ring, reply);

  uint64_t had = since.value_or(ring->last);
  if (had > ring->last) had = ring->first() - 1;
  while (!reply.gone()) {
    had = ring->hand_over(reply, had);
    if (reply.connection_.unsent() > 0) {
      co_await reply.sent();
    } else if (had == ring->last) {
      co_await reply.sleep();
    }
  }
}

std::string time_of_day() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const time_t seconds = ms / 1000;
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     ms % 1000);
}

}  // namespace drover::control
