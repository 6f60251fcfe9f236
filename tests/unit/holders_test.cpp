#include "lib/flock/holders.h"

#include <sys/file.h>

#include <algorithm>

#include "lib/flock/lock_file.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using test::Child;
using test::Folder;

namespace {

int open_locked(const std::string& path, int operation) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CREAT, 0600);
  if (operation != 0) ::flock(fd, operation);
  return fd;
}

Opened look(pid_t pid, const std::string& path) {
  const os::FileId id = *os::file_at(path);
  return look_at(pid, {&id, 1});
}

}  // namespace

TEST_CASE("a holder is told from one that has the file merely open") {
  const Folder folder;
  const std::string path = folder / "a";
  const Child opener([&] { open_locked(path, 0); });
  CHECK(look(opener.pid(), path).fds.size() == 1);
  CHECK_FALSE(look(opener.pid(), path).holding());

  const Child holder([&] { open_locked(path, LOCK_SH); });
  const Opened opened = look(holder.pid(), path);
  REQUIRE(opened.holding());
  CHECK(opened.fds[0].mode == LockMode::shared);
  CHECK(opened.fds[0].taker == holder.pid());
  CHECK(opened.readable);
}

TEST_CASE("an inherited lock names its taker") {
  const Folder folder;
  const std::string path = folder / "a";
  const int fd = open_locked(path, LOCK_EX);
  const Child heir;
  const Opened opened = look(heir.pid(), path);
  ::close(fd);
  REQUIRE(opened.holding());
  CHECK(opened.fds[0].mode == LockMode::exclusive);
  CHECK(opened.fds[0].taker == ::getpid());
}

TEST_CASE("a lock on descriptor 0 is seen") {
  const Folder folder;
  const std::string path = folder / "a";
  const Child holder([&] {
    ::close(0);
    open_locked(path, LOCK_SH);
  });
  const Opened opened = look(holder.pid(), path);
  REQUIRE(opened.holding());
  CHECK(opened.fds[0].fd == 0);
}

TEST_CASE("deleted files are noted") {
  const Folder folder;
  const std::string path = folder / "a";
  const Child holder([&] {
    open_locked(path, LOCK_SH);
    ::unlink(path.c_str());
  });
  CHECK(look_at(holder.pid(), {}).deleted.size() == 1);
}

TEST_CASE("a dead process holds nothing") {
  const Folder folder;
  const std::string path = folder / "a";
  Child holder([&] { open_locked(path, LOCK_SH); });
  const pid_t pid = holder.pid();
  holder.kill();
  CHECK(look(pid, path).fds.empty());
}

TEST_CASE("every opener is visited once, in order") {
  const Folder folder;
  const std::string path = folder / "a";
  const int fd = open_locked(path, LOCK_SH);
  const Child first, second, third;
  ::close(fd);
  std::vector<pid_t> visited;
  const os::FileId id = *os::file_at(path);
  visit_openers({&id, 1}, Whom::everybody, [&](pid_t pid, const Opened& opened) {
    if (opened.holding()) visited.push_back(pid);
  });
  std::vector<pid_t> wanted = {first.pid(), second.pid(), third.pid()};
  std::sort(wanted.begin(), wanted.end());
  CHECK(visited == wanted);
}

TEST_CASE("locks above are those of this process and of its parents") {
  const Folder folder;
  const std::string path = folder / "a";
  const auto count = [&] {
    const auto locks = locks_held_above();
    return std::count_if(locks.begin(), locks.end(),
                         [&](const LockAbove& lock) { return os::file_at(path) == lock.file; });
  };
  const int open_only = open_locked(path, 0);
  CHECK(count() == 0);
  const int fd = open_locked(path, LOCK_SH);
  CHECK(count() == 1);
  // A child without the descriptor still stands below the holder.
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  if (::fork() == 0) {
    ::close(fd);
    ::close(open_only);
    const auto found = static_cast<char>(count());
    ::_exit(::write(ends[1], &found, 1) == 1 ? 0 : 1);
  }
  char found = 0;
  CHECK(::read(ends[0], &found, 1) == 1);
  ::wait(nullptr);
  CHECK(found == 1);
  for (const int number : {fd, open_only, ends[0], ends[1]})
    ::close(number);
}
