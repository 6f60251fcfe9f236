#include "lib/flock/wait.h"

#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using test::Child;
using test::Folder;
using test::holding;

TEST_CASE("never held is not gone") {
  const Folder folder;
  CHECK_THROWS_AS(open_held(folder / "a"), Error);
  test::write_file(folder / "a", "");
  CHECK_THROWS_AS(open_held(folder / "a"), Error);
  const Child holder(holding(folder / "a"));
  CHECK(open_held(folder / "a").at_path());
}

TEST_CASE("a deleted lock file that is still open is told") {
  const Folder folder;
  const Child holder(holding(folder / "a"));
  ::unlink((folder / "a").c_str());
  try {
    open_held(folder / "a");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.hint().find(std::to_string(holder.pid())) != std::string::npos);
  }
}

TEST_CASE("waiting for one's own lock is refused") {
  const Folder folder;
  LockFile own = LockFile::open_or_create(folder / "a", 0600);
  REQUIRE(try_acquire(own, Mode::shared));
  CHECK_THROWS_AS(refuse_inside_held_tree(locks_held_above(), own), Error);
}

TEST_CASE("the roots are the holders without a holder above") {
  const Folder folder;
  const Child master([&] {
    holding(folder / "a")();
    (void)test::fork_bound();
  });
  const RootHolders roots(LockFile::open_or_create(folder / "a", 0600));
  REQUIRE(roots.processes().size() == 1);
  CHECK(roots.processes()[0].pid() == master.pid());
}
