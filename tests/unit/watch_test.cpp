#include "lib/flock/watch.h"

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <memory>

#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using namespace std::chrono_literals;
using test::Child;
using test::Folder;
using test::holding;

namespace {

const Notice kSilent = [](const std::string&) {};

}  // namespace

TEST_CASE("the limit is an answer") {
  const Folder folder;
  const Child holder(holding(folder / "a"));
  WaitRequest request{.paths = {folder / "a"}, .any = false, .watch = {}, .limit = test::in(30ms)};
  CHECK_FALSE(wait(request, kSilent).gone);
}

TEST_CASE("a lock that is free already was never held") {
  const Folder folder;
  const Child holder(holding(folder / "a"));
  test::write_file(folder / "b", "");
  const WaitRequest request{
      .paths = {folder / "a", folder / "b"}, .any = false, .watch = {}, .limit = test::in(20s)};
  CHECK_THROWS_AS(wait(request, kSilent), Error);
}

TEST_CASE("several locks are waited for at once") {
  const Folder folder;
  Child first(holding(folder / "a"));
  Child second(holding(folder / "b"));
  asio::io_context io(1);
  Watch watch(io, {}, kSilent);
  std::string ended;
  const auto follow = [&](const std::string& name) -> asio::awaitable<void> {
    auto file = co_await watch.begun(folder / name);
    co_await watch.ended(std::move(*file));
    ended += name;
  };
  const std::string names[] = {"a", "b"};
  for (const std::string& name : names)
    asio::co_spawn(io, follow(name), asio::detached);
  io.poll();
  CHECK(ended.empty());
  second.kill();
  while (ended.empty())
    io.run_one();
  CHECK(ended == "b");
  first.kill();
  while (ended.size() < 2)
    io.run_one();
  CHECK(ended == "ba");
}

TEST_CASE("a successor within the grace time goes on") {
  const Folder folder;
  Child first(holding(folder / "a"));
  std::unique_ptr<Child> second;
  asio::io_context io(1);
  std::vector<std::string> notices;
  Watch watch(io, {.start = {}, .grace = 20s, .report = false}, [&](const std::string& text) {
    notices.push_back(text);
    if (second) second->kill();
  });
  bool freed = false;
  bool ended = false;
  watch.on_free([&] { freed = true; });
  const auto follow = [&]() -> asio::awaitable<void> {
    auto file = co_await watch.begun(folder / "a");
    co_await watch.ended(std::move(*file));
    ended = true;
  };
  asio::co_spawn(io, follow(), asio::detached);
  io.poll();
  first.kill();
  while (!freed)  // a successor that came before would not be noticed as one
    io.run_one();
  second = std::make_unique<Child>(holding(folder / "a"));
  while (notices.empty())
    io.run_one();
  CHECK_FALSE(ended);
}

TEST_CASE("nobody came in time") {
  const Folder folder;
  WaitRequest request{.paths = {folder / "a"},
                      .any = false,
                      .watch = {.start = 30ms, .grace = {}, .report = false},
                      .limit = {}};
  CHECK_THROWS_AS(wait(request, kSilent), Error);
  request.paths = {folder / "no/such/folder"};
  CHECK_THROWS_AS(wait(request, kSilent), Error);
}
