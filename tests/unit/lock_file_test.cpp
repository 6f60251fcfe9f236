#include "lib/flock/lock_file.h"

#include <sys/file.h>
#include <sys/stat.h>

#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using namespace std::chrono_literals;
using test::Folder;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat st {};
  ::stat(path.c_str(), &st);
  return st.st_mode & 07777;
}

LockFile locked(const std::string& path, Mode mode) {
  LockFile file = LockFile::open_or_create(path, 0600);
  REQUIRE(try_acquire(file, mode));
  return file;
}

}  // namespace

TEST_CASE("a lock file is made with exactly the asked mode") {
  const Folder folder;
  for (const mode_t mask : {0000U, 0022U, 0077U}) {
    const mode_t before = ::umask(mask);
    for (const mode_t mode : {0600U, 0640U, 0666U}) {
      const std::string path = folder / std::to_string(mask * 1000 + mode);
      LockFile::open_or_create(path, mode);
      CHECK(mode_of(path) == mode);
    }
    ::umask(before);
  }
}

TEST_CASE("an existing lock file is opened as it is") {
  const Folder folder;
  test::write_file(folder / "a", "content");
  ::chmod((folder / "a").c_str(), 0400);
  LockFile::open_or_create(folder / "a", 0666);
  CHECK(test::read_file(folder / "a") == "content");
  CHECK(mode_of(folder / "a") == 0400);
}

TEST_CASE("only regular files are lock files") {
  const Folder folder;
  ::mkfifo((folder / "fifo").c_str(), 0600);
  ::mkdir((folder / "dir").c_str(), 0700);
  ::symlink((folder / "target").c_str(), (folder / "link").c_str());
  for (const char* name : {"fifo", "dir", "link"})
    CHECK_THROWS_AS(LockFile::open_or_create(folder / name, 0600), Error);
  CHECK_THROWS_AS(LockFile::open("/dev/null"), Error);
  CHECK_FALSE(os::file_at(folder / "target"));  // nothing was made through the dangling link
  CHECK_FALSE(LockFile::open(folder / "missing"));
}

TEST_CASE("a replaced file is noticed") {
  const Folder folder;
  const LockFile file = LockFile::open_or_create(folder / "a", 0600);
  CHECK(file.at_path());
  ::rename((folder / "a").c_str(), (folder / "b").c_str());
  CHECK_FALSE(file.at_path());
  const LockFile other = LockFile::open_or_create(folder / "a", 0600);
  CHECK_FALSE(file.at_path());
  CHECK(other.at_path());
}

TEST_CASE("shared goes with shared, exclusive with nothing") {
  const Folder folder;
  const std::string path = folder / "a";
  LockFile other = LockFile::open_or_create(path, 0600);
  {
    const LockFile shared = locked(path, Mode::shared);
    CHECK(acquire(other, Mode::exclusive, Patience::none()) == Acquired::busy);
    CHECK(acquire(other, Mode::shared, Patience::none()) == Acquired::yes);
  }
  other = LockFile::open_or_create(path, 0600);
  const LockFile exclusive = locked(path, Mode::exclusive);
  CHECK(acquire(other, Mode::shared, Patience::none()) == Acquired::busy);
}

TEST_CASE("a limit ends the wait, not before it") {
  const Folder folder;
  const test::Child holder(test::holding(folder / "a"));
  LockFile waiter = LockFile::open_or_create(folder / "a", 0600);
  for (const auto limit : {0ms, 1ms, 30ms}) {
    const auto begin = std::chrono::steady_clock::now();
    CHECK(acquire(waiter, Mode::exclusive, Patience::until(begin + limit)) == Acquired::timed_out);
    CHECK(std::chrono::steady_clock::now() - begin >= limit);
  }
}

TEST_CASE("nobody waits for a lock that is his own") {
  const Folder folder;
  const LockFile holder = locked(folder / "a", Mode::shared);
  LockFile waiter = LockFile::open_or_create(folder / "a", 0600);
  CHECK_THROWS_AS(acquire(waiter, Mode::exclusive, Patience::forever()), Error);
  CHECK_THROWS_AS(acquire(waiter, Mode::exclusive, Patience::until(test::in(20ms))), Error);
  CHECK(acquire(waiter, Mode::exclusive, Patience::none()) == Acquired::busy);
}

TEST_CASE("a limit works with SIGALRM blocked and ignored by the caller, and leaves both so") {
  const Folder folder;
  const test::Child holder(test::holding(folder / "a"));
  LockFile waiter = LockFile::open_or_create(folder / "a", 0600);
  sigset_t alarm, before;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  ::sigprocmask(SIG_BLOCK, &alarm, &before);
  const auto disposition = ::signal(SIGALRM, SIG_IGN);
  CHECK(acquire(waiter, Mode::exclusive, Patience::until(test::in(20ms))) == Acquired::timed_out);
  CHECK(::signal(SIGALRM, disposition) == SIG_IGN);
  sigset_t now;
  ::sigprocmask(SIG_SETMASK, &before, &now);
  CHECK(sigismember(&now, SIGALRM) == 1);
}

TEST_CASE("an impatient holder outlives the exclusive instants of waiters") {
  const Folder folder;
  const std::string path = folder / "a";
  LockFile::open_or_create(path, 0600);
  const test::Child waiters([&] {
    LockFile file = LockFile::open_or_create(path, 0600);
    if (test::fork_bound() == 0)
      for (;;)
        (void)is_held(file);
  });
  int busy = 0;
  for (int round = 0; round < 5000; ++round) {
    LockFile file = LockFile::open_or_create(path, 0600);
    if (acquire(file, Mode::shared, Patience::none()) != Acquired::yes) ++busy;
  }
  CHECK(busy == 0);
}

TEST_CASE("asking whether a file is held takes nothing away") {
  const Folder folder;
  LockFile asker = LockFile::open_or_create(folder / "a", 0600);
  CHECK_FALSE(is_held(asker));
  const LockFile holder = locked(folder / "a", Mode::shared);
  CHECK(is_held(asker));
  CHECK(is_held(asker));
}
