// What followers of events get, at any pace.
#include "lib/control/events.h"

#include "tests/unit/control_support.h"

using namespace drover;
using namespace drover::control;
using test::Peer;
using test::Served;
using test::turn_until;

namespace {

struct Followed : Served {
  explicit Followed(Events::Bounds bounds = {}, Limits limits = {})
      : Served(
            [this](Request request, Reply& reply) -> asio::awaitable<void> {
              ++begun;
              co_await events.follow(reply, request.number("since"));
            },
            limits),
        events(bounds) {}

  void publish(int count, size_t size = 1) {
    for (int at = 0; at < count; ++at)
      events.publish({{"event", "x"}, {"text", std::string(size, 'x')}});
  }

  /// A client that follows already.
  Peer follow(const std::string& since) {
    Peer peer(path);
    const size_t before = begun;
    peer.say("{\"command\":\"events\",\"since\":" + since + "}\n");
    REQUIRE(turn_until(io, [&] { return begun > before; }));
    while (io.poll() > 0) {
    }
    return peer;
  }

  size_t begun = 0;
  Events events;
};

std::vector<uint64_t> numbers(const std::vector<Json>& lines) {
  std::vector<uint64_t> found;
  for (const Json& line : lines)
    if (line.contains("seq")) found.push_back(line.at("seq"));
  return found;
}

}  // namespace

TEST_CASE("events from now on") {
  Followed served;
  served.publish(2);
  Peer first = served.follow("null");
  Peer second = served.follow("null");
  CHECK(served.events.publish({{"event", "step"}, {"name", "ready"}}) == 3);
  served.publish(1);
  const auto lines = first.some(served.io, 2);
  CHECK(numbers(lines) == std::vector<uint64_t>{3, 4});
  CHECK(lines[0].at("event") == "step");
  CHECK(lines[0].at("name") == "ready");
  CHECK(lines[0].at("at").get<std::string>().size() ==
        std::string("2026-11-22T12:00:00.123Z").size());
  CHECK(numbers(second.some(served.io, 2)) == numbers(lines));
}

TEST_CASE("events after a number") {
  Followed served;
  served.publish(5);
  CHECK(served.events.last() == 5);
  CHECK(numbers(served.follow("3").some(served.io, 2)) == std::vector<uint64_t>{4, 5});
  CHECK(numbers(served.follow("0").some(served.io, 5)).size() == 5);
  Peer at_end = served.follow("5");
  served.publish(1);
  CHECK(numbers(at_end.some(served.io, 1)) == std::vector<uint64_t>{6});
  CHECK(numbers(served.follow("99").some(served.io, 6)).size() == 6);
}

TEST_CASE("lost events are admitted") {
  Followed served({.count = 4, .bytes = 1 << 20});
  served.publish(10);
  const auto lines = served.follow("2").some(served.io, 5);
  CHECK(lines[0] == Json({{"v", 1}, {"event", "lost"}, {"count", 4}}));
  CHECK(numbers(lines) == std::vector<uint64_t>{7, 8, 9, 10});
}

TEST_CASE("the ring is bounded in bytes, and keeps the newest") {
  Followed served({.count = 100, .bytes = 1000});
  served.publish(10, 300);
  CHECK(served.follow("0").some(served.io, 3)[0].at("count") == 8);
  served.publish(1, 5000);
  CHECK(numbers(served.follow("0").some(served.io, 2)) == std::vector<uint64_t>{11});
}

TEST_CASE("a slow follower is not cut off, and can count what it missed") {
  Followed served({.count = 50, .bytes = 1 << 20});
  Peer peer = served.follow("0");
  for (int round = 0; round < 20; ++round) {
    served.publish(50, 1000);
    served.io.poll();
  }
  const auto has_all = [&] {
    peer.hear();
    return peer.heard().find("\"seq\":1000,") != std::string::npos && peer.heard().back() == '\n';
  };
  REQUIRE(turn_until(served.io, has_all));
  uint64_t last = 0;
  bool lost = false;
  for (const Json& line : peer.some(served.io, 1)) {
    if (line.at("event") == "lost") {
      lost = true;
      last += line.at("count").get<uint64_t>();
    } else {
      CHECK(line.at("seq") == ++last);
    }
  }
  CHECK(lost);
  CHECK(last == 1000);
}

TEST_CASE("a follower takes more than may be left unsent, at its pace") {
  Followed served({.count = 1000, .bytes = 1 << 20}, {.unsent = 100'000});
  served.publish(900, 1000);
  CHECK(numbers(served.follow("0").some(served.io, 900)).size() == 900);
}

TEST_CASE("a follower that leaves is forgotten") {
  Followed served;
  Peer peer = served.follow("0");
  peer.hang_up();
  CHECK(turn_until(served.io, [&] { return served.server->clients() == 0; }));
  served.publish(3);
}
