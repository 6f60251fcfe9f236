#include "lib/flock/hold.h"

#include <sys/resource.h>

#include "lib/flock/holders.h"
#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using test::Folder;

namespace {

HoldRequest request_for(const std::string& path) {
  HoldRequest request;
  request.path = path;
  request.patience = Patience::none();
  return request;
}

bool inherited(int fd) { return (::fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0; }

}  // namespace

TEST_CASE("the descriptor is high, inheritable and holds") {
  const Folder folder;
  const Hold held = hold(request_for(folder / "a"));
  CHECK(held.acquired == Acquired::yes);
  CHECK(held.fd.get() >= 1025);
  CHECK(inherited(held.fd.get()));
  CHECK(lock_mode_of_own(held.fd.get()) == LockMode::shared);
  CHECK(held.path == folder / "a");
  CHECK_FALSE(held.nested);
}

TEST_CASE("the descriptor stays clear of socket activation's") {
  const Folder folder;
  HoldRequest request = request_for(folder / "a");
  request.placement.kind = Placement::Kind::low;
  request.first_free = 40;
  CHECK(hold(request).fd.get() >= 40);
  request.placement.kind = Placement::Kind::high;
  request.first_free = 2000;
  CHECK(hold(request).fd.get() >= 2000);
}

TEST_CASE("an exact descriptor is that one or none") {
  const Folder folder;
  HoldRequest request = request_for(folder / "a");
  request.placement = {Placement::Kind::exactly, 77};
  const Hold held = hold(request);
  CHECK(held.fd.get() == 77);
  request.path = folder / "b";
  CHECK_THROWS_AS(hold(request), Error);
}

TEST_CASE("below a hard limit of 1025 the descriptor is low, with a warning") {
  const Folder folder;
  const test::Child child([&] {
    const rlimit small{64, 64};
    ::setrlimit(RLIMIT_NOFILE, &small);
    const Hold held = hold(request_for(folder / "a"));
    if (held.fd.get() < 64 && held.warnings.size() == 1) test::write_file(folder / "ok", "");
  });
  CHECK(os::file_at(folder / "ok"));
}

TEST_CASE("an inherited lock of the same file is kept") {
  const Folder folder;
  Hold outer = hold(request_for(folder / "a"));
  HoldRequest request = request_for(folder / "a");
  {
    Hold inner = hold(request);
    CHECK(inner.nested);
    CHECK(inner.fd.get() == outer.fd.get());
    (void)inner.fd.release();
  }
  request.mode = Mode::exclusive;
  CHECK_THROWS_AS(hold(request), Error);
  request.mode = Mode::shared;
  request.new_generation = true;
  CHECK_THROWS_AS(hold(request), Error);

  CHECK_FALSE(hold(request_for(folder / "b")).nested);
}

TEST_CASE("a busy lock is an answer") {
  const Folder folder;
  HoldRequest request = request_for(folder / "a");
  request.mode = Mode::exclusive;
  const test::Child holder([&] { (void)hold(request).fd.release(); });
  CHECK(hold(request).acquired == Acquired::busy);
  CHECK_FALSE(hold(request).fd);
}

TEST_CASE("a descriptor of the caller can be locked") {
  const Folder folder;
  const int fd = ::open((folder / "a").c_str(), O_RDONLY | O_CREAT, 0600);
  CHECK(adopt(fd, "", Mode::shared, Patience::none()) == Acquired::yes);
  CHECK(lock_mode_of_own(fd) == LockMode::shared);
  test::write_file(folder / "b", "");
  CHECK_THROWS_AS(adopt(fd, folder / "b", Mode::shared, Patience::none()), Error);
  ::close(fd);
  CHECK_THROWS_AS(adopt(fd, "", Mode::shared, Patience::none()), Error);
}
