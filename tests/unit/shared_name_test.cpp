// One name for several servers' sockets.
#include "lib/control/shared_name.h"

#include <sys/socket.h>

#include <filesystem>

#include "lib/control/client.h"
#include "lib/control/socket_file.h"
#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::control;
using test::Folder;

namespace {

namespace fs = std::filesystem;

/// A server with a number of its own, which shares `shared`.
struct Sharing {
  Sharing(const std::string& shared, int number)
      : own(own_name(shared, number)), name(shared, own.path()) {}
  SocketFile own;
  SharedName name;
};

int failure(const std::string& shared, int number) {
  try {
    const Sharing sharing(shared, number);
  } catch (const Error& error) {
    return error.err();
  }
  return 0;
}

size_t names_in(const Folder& folder) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(folder / ""), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("a server's own name stands beside the shared one") {
  CHECK(own_name("/run/app.sock", 812) == "/run/app.812.sock");
  CHECK(own_name("/run/app", 812) == "/run/app.812");
}

TEST_CASE("the newest server has the shared name, then the newest that is left") {
  const Folder folder;
  const std::string shared = folder / "app.sock";
  std::optional<Sharing> first, second, third;
  first.emplace(shared, 1);
  CHECK(os::file_at(shared) == os::file_at(folder / "app.1.sock"));
  second.emplace(shared, 2);
  third.emplace(shared, 3);
  CHECK(os::file_at(shared) == os::file_at(folder / "app.3.sock"));
  CHECK_NOTHROW(Client(folder / "app.1.sock"));
  SECTION("the newest ends") {
    third.reset();
    CHECK(os::file_at(shared) == os::file_at(folder / "app.2.sock"));
    second.reset();
    CHECK(os::file_at(shared) == os::file_at(folder / "app.1.sock"));
  }
  SECTION("the others end first") {
    first.reset();
    second.reset();
    CHECK(os::file_at(shared) == os::file_at(folder / "app.3.sock"));
    CHECK_NOTHROW(Client(shared));
    third.reset();
    CHECK(names_in(folder) == 0);
  }
}

TEST_CASE("what is no socket of such a server is left alone") {
  const Folder folder;
  const std::string shared = folder / "app.sock";
  SECTION("a file") {
    test::write_file(shared, "precious");
    CHECK(failure(shared, 1) == EEXIST);
    CHECK(test::read_file(shared) == "precious");
  }
  SECTION("another server's") {
    const SocketFile other(shared);
    CHECK(failure(shared, 1) == EADDRINUSE);
    CHECK_NOTHROW(Client(shared));
  }
  CHECK(names_in(folder) <= 1);
}

TEST_CASE("what dead servers have left is replaced and removed") {
  const Folder folder;
  const std::string shared = folder / "app.sock";
  {
    const test::Child killed([&] {
      static std::optional<Sharing> left;
      left.emplace(shared, 1);
    });
  }
  CHECK(os::file_at(folder / "app.1.sock"));
  const Sharing next(shared, 2);
  CHECK(os::file_at(shared) == os::file_at(folder / "app.2.sock"));
  CHECK_FALSE(os::file_at(folder / "app.1.sock"));
}
