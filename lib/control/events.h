// What has happened lately, for clients that follow it: numbered, bounded, and honest about what it
// no longer has.
#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "lib/control/server.h"

namespace drover::control {

/// A ring of the latest events. Not for several threads; followers may outlive it.
class Events {
 public:
  struct Bounds {
    size_t count = 256;
    size_t bytes = 64 << 10;
  };
  explicit Events(Bounds bounds);
  Events() : Events(Bounds{}) {}

  /// Adds "seq", from 1, and "at", the time of day (RFC 3339), to an object with an "event". Costs
  /// the making of one line when nobody follows. Drops the oldest events beyond the bounds; the
  /// newest is kept whatever its size. Returns the number.
  uint64_t publish(const Json& event);
  /// The number of the newest event; 0 before the first.
  [[nodiscard]] uint64_t last() const;

  /// Sends each event from now on, or each after number `since`, until the client is gone. In place
  /// of events that have been dropped before the client took them it gets {"event":"lost",
  /// "count":n}. A number that was not yet given out belongs to a server of before: then, all that
  /// there is.
  asio::awaitable<void> follow(Reply& reply, std::optional<uint64_t> since) const;

 private:
  struct Ring;
  std::shared_ptr<Ring> ring_;
};

/// "2026-11-22T12:00:00.123Z", the time of day now.
std::string time_of_day();

}  // namespace drover::control
