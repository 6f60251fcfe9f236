#include "lib/herd/readiness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <memory>
#include <thread>

#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace std::chrono_literals;
using herd::Readiness;

namespace {

/// A child that waits for connections at a socket of its own; idle, it has none.
struct Worker : test::Child {
  explicit Worker(bool serves = true) : Child([serves] { std::thread(wait, serves).detach(); }) {}

  static void wait(bool serves) {
    if (!serves) {
      ::pause();
      return;
    }
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd, 8) != 0)
      return;
    (void)!::accept(fd, nullptr, nullptr);
  }
};

/// Looks again and again until it is ready; false at the limit.
bool becomes_ready(Readiness& readiness, const std::vector<pid_t>& workers,
                   std::chrono::milliseconds limit = 20s) {
  const auto end = test::in(limit);
  while (!readiness.look(workers)) {
    if (std::chrono::steady_clock::now() >= *end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

/// So many looks are enough for whoever would be ready without more time.
bool is_ready_soon(Readiness& readiness, const std::vector<pid_t>& workers) {
  return becomes_ready(readiness, workers, 100ms);
}

}  // namespace

TEST_CASE("a generation is ready when as many serve as are wanted") {
  const Worker one;
  const Worker two;
  Readiness readiness(2, 0ms, 0);
  CHECK_FALSE(is_ready_soon(readiness, {}));
  CHECK_FALSE(is_ready_soon(readiness, {one.pid()}));
  CHECK(becomes_ready(readiness, {one.pid(), two.pid()}));
  CHECK(readiness.any_serves());
  CHECK(readiness.describe() == "2 of 2 workers serve");
}

TEST_CASE("workers have to serve for the settle time") {
  const Worker one;
  Readiness readiness(1, 300ms, 0);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(becomes_ready(readiness, {one.pid()}));
  CHECK(std::chrono::steady_clock::now() - begin >= 300ms);
}

TEST_CASE("one that never serves is never counted") {
  const Worker serves;
  const Worker hangs(false);
  Readiness readiness(2, 0ms, 0);
  CHECK_FALSE(is_ready_soon(readiness, {serves.pid(), hangs.pid()}));
  CHECK(readiness.any_serves());
  CHECK(readiness.describe() == "1 of 2 workers serve");
}

TEST_CASE("fewer are enough once their number has stayed") {
  const Worker one;
  Readiness readiness(3, 0ms, 0);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(becomes_ready(readiness, {one.pid()}));
  CHECK(std::chrono::steady_clock::now() - begin >= 1s);
}

TEST_CASE("without a wanted number all that are there have to serve") {
  const Worker one;
  const Worker hangs(false);
  Readiness readiness(0, 50ms, 0);
  CHECK_FALSE(is_ready_soon(readiness, {one.pid(), hangs.pid()}));
  CHECK(becomes_ready(readiness, {one.pid()}));
}

TEST_CASE("workers that end are counted, and their service with them") {
  auto one = std::make_unique<Worker>();
  const Worker two;
  Readiness readiness(2, 10s, 0);
  const auto limit = test::in(20s);
  while (!readiness.any_serves() && std::chrono::steady_clock::now() < *limit)
    (void)readiness.look({one->pid()});
  REQUIRE(readiness.any_serves());
  one.reset();
  CHECK_FALSE(readiness.look({}));
  CHECK_FALSE(readiness.any_serves());
  CHECK(readiness.ended() == 1);
  CHECK(readiness.describe() == "0 of 2 workers serve, 1 have ended");
  CHECK_FALSE(readiness.look({two.pid()}));
  CHECK(readiness.ended() == 1);
}
