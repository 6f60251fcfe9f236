#include "lib/flock/arrivals.h"

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <thread>

#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using namespace std::chrono_literals;
using test::Folder;

namespace {

/// What comes at `path` while `meanwhile` runs in another thread.
Arrival next(
    const std::string& path, std::chrono::milliseconds limit,
    const std::function<void()>& meanwhile = [] {}) {
  asio::io_context io(1);
  Arrivals arrivals(io);
  Arrival found;
  const auto ask = [&]() -> asio::awaitable<void> {
    found = co_await arrivals.next(path, test::in(limit));
  };
  asio::co_spawn(io, ask, asio::detached);
  io.poll();  // the folder is watched now
  std::thread other(meanwhile);
  io.run();
  other.join();
  return found;
}

}  // namespace

TEST_CASE("a holder that is there is told at once") {
  const Folder folder;
  LockFile holder = LockFile::open_or_create(folder / "a", 0600);
  REQUIRE(try_acquire(holder, Mode::shared));
  CHECK(next(folder / "a", 0ms).kind == Arrival::Kind::holding);
}

TEST_CASE("a holder that comes later is seen by the folder's events") {
  const Folder folder;
  std::optional<LockFile> holder;
  const Arrival arrival = next(folder / "a", 20s, [&] {
    holder = LockFile::open_or_create(folder / "a", 0600);
    (void)try_acquire(*holder, Mode::shared);
    holder->touch();
  });
  CHECK(arrival.kind == Arrival::Kind::holding);
  CHECK(arrival.file->at_path());
}

TEST_CASE("a holder that came and went is not missed") {
  const Folder folder;
  for (int round = 0; round < 200; ++round) {
    const Arrival arrival = next(folder / "a", 20s, [&] {
      LockFile holder = LockFile::open_or_create(folder / "a", 0600);
      (void)try_acquire(holder, Mode::shared);
      holder.touch();
    });
    REQUIRE(arrival.kind != Arrival::Kind::nobody);
  }
}

TEST_CASE("other files in the folder are nobody's arrival") {
  const Folder folder;
  const Arrival arrival = next(folder / "a", 50ms, [&] { test::write_file(folder / "b", "x"); });
  CHECK(arrival.kind == Arrival::Kind::nobody);
}
