#include "lib/flock/inspect.h"

#include <sys/socket.h>

#include <cstring>

#include "lib/flock/lock_file.h"
#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using test::Child;
using test::Folder;

namespace {

/// Puts a copy of the descriptor on its way through the socket.
void send_descriptor(int socket, int fd) {
  char byte = 'x';
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  REQUIRE(::sendmsg(socket, &message, 0) == 1);
}

}  // namespace

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
    test::holding(path)();
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
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0);
  const os::Fd sender(ends[0]);
  const os::Fd receiver(ends[1]);
  {
    LockFile own = LockFile::open_or_create(folder / "a", 0600);
    REQUIRE(try_acquire(own, Mode::shared));
    send_descriptor(sender.get(), own.fd());
  }
  const auto reports = inspect({folder / "a"});
  CHECK(reports[0].held);
  CHECK(reports[0].descriptions.empty());
}

TEST_CASE("the process that looks is a holder when it is the only one") {
  const Folder folder;
  LockFile own = LockFile::open_or_create(folder / "a", 0600);
  REQUIRE(try_acquire(own, Mode::shared));
  const auto reports = inspect({folder / "a"});
  REQUIRE(reports[0].descriptions.size() == 1);
  CHECK(reports[0].descriptions[0].holders[0].pid == ::getpid());
}

TEST_CASE("no lock file is an error, a free one is not") {
  const Folder folder;
  CHECK_THROWS_AS(inspect({folder / "missing"}), Error);
  test::write_file(folder / "a", "");
  CHECK_FALSE(inspect({folder / "a"})[0].held);
}
