#include "lib/flock/inspect.h"

#include "lib/flock/lock_file.h"
#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using test::Child;
using test::Folder;

TEST_CASE("the unit is the innermost service or scope of a cgroup") {
  CHECK(unit_of("/system.slice/app.service") == "app.service");
  CHECK(unit_of("/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope") == "x.scope");
  CHECK(unit_of("/system.slice/app.service/worker") == "app.service");
  CHECK(unit_of("/").empty());
  CHECK(unit_of("").empty());
}

TEST_CASE("two holds of one file are two descriptions") {
  const Folder folder;
  const std::string path = folder / "a";
  const auto take = [&] {
    static std::optional<LockFile> kept;
    kept = LockFile::open_or_create(path, 0600);
    (void)try_acquire(*kept, Mode::shared);
    (void)test::fork_bound();
  };
  const Child first(take);
  const Child second(take);
  const auto reports = inspect({path});
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].held);
  CHECK(reports[0].holder_count() == 4);
  REQUIRE(reports[0].descriptions.size() == 2);
  for (const auto& description : reports[0].descriptions) {
    CHECK(description.holders.size() == 2);
    CHECK(description.taker_alive);
    CHECK(description.holders[0].pid == description.taker);
  }
}

TEST_CASE("a lock held by nobody in sight is held all the same") {
  const Folder folder;
  LockFile own = LockFile::open_or_create(folder / "a", 0600);
  REQUIRE(try_acquire(own, Mode::shared));
  const auto reports = inspect({folder / "a"});  // this process is not listed
  CHECK(reports[0].held);
  CHECK(reports[0].descriptions.empty());
}

TEST_CASE("no lock file is an error, a free one is not") {
  const Folder folder;
  CHECK_THROWS_AS(inspect({folder / "missing"}), Error);
  test::write_file(folder / "a", "");
  CHECK_FALSE(inspect({folder / "a"})[0].held);
}
