// The file of a control socket: who may use it, whom it is taken from, when it goes.
#include "lib/control/socket_file.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>

#include "lib/control/address.h"
#include "lib/control/client.h"
#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::control;
using test::Folder;

namespace {

namespace fs = std::filesystem;

int failure(const std::string& path) {
  try {
    const SocketFile file(path);
  } catch (const Error& error) {
    return error.err();
  }
  return 0;
}

int client_failure(const std::string& path) {
  try {
    const Client client(path);
  } catch (const Error& error) {
    return error.err();
  }
  return 0;
}

/// Leaves the file of a socket that nobody has open.
void leave_dead(const std::string& path, int type = SOCK_STREAM) {
  const os::Fd made(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
  const Address address(path);
  REQUIRE(::bind(made.get(), address.get(), address.size()) == 0);
}

}  // namespace

TEST_CASE("a socket file is its owner's alone from birth") {
  const Folder folder;
  const mode_t old = ::umask(0);
  const SocketFile file(folder / "a.sock");
  ::umask(old);
  CHECK(fs::status(folder / "a.sock").permissions() == fs::perms(0600));
  CHECK(fs::is_socket(folder / "a.sock"));
  CHECK((::fcntl(file.fd(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(file.fd(), F_GETFL) & O_NONBLOCK) != 0);
}

TEST_CASE("a dead server's socket is replaced, a living one's is not") {
  const Folder folder;
  for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
    leave_dead(folder / "a.sock", type);
    CHECK(client_failure(folder / "a.sock") == ECONNREFUSED);
    const SocketFile file(folder / "a.sock");
    CHECK(client_failure(folder / "a.sock") == 0);
    const auto mine = os::file_at(folder / "a.sock");
    CHECK(failure(folder / "a.sock") == EADDRINUSE);
    CHECK(os::file_at(folder / "a.sock") == mine);
    CHECK(client_failure(folder / "a.sock") == 0);
  }
}

TEST_CASE("a living socket of another kind is left alone") {
  const Folder folder;
  const os::Fd other(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const Address address(folder / "a.sock");
  REQUIRE(::bind(other.get(), address.get(), address.size()) == 0);
  CHECK(failure(folder / "a.sock") == EADDRINUSE);
  CHECK(os::file_at(folder / "a.sock"));
}

TEST_CASE("what is no socket is never removed") {
  const Folder folder;
  test::write_file(folder / "file", "text");
  fs::create_directory(folder / "folder");
  fs::create_symlink("nowhere", folder / "link");
  leave_dead(folder / "dead");
  fs::create_symlink("dead", folder / "to-dead");
  for (const char* name : {"file", "folder", "link", "to-dead"}) {
    INFO(name);
    CHECK(failure(folder / name) == EEXIST);
    CHECK(os::file_at(folder / name));
  }
  CHECK(test::read_file(folder / "file") == "text");
  CHECK(os::file_at(folder / "dead"));
}

TEST_CASE("a socket file goes with its server, and only that one") {
  const Folder folder;
  { const SocketFile file(folder / "a.sock"); }
  CHECK_FALSE(os::file_at(folder / "a.sock"));
  {
    const SocketFile file(folder / "a.sock");
    fs::remove(folder / "a.sock");
    leave_dead(folder / "a.sock");
  }
  CHECK(os::file_at(folder / "a.sock"));
}

TEST_CASE("a socket file is found again from another folder") {
  const Folder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder / "");
  {
    const SocketFile file("a.sock");
    CHECK(file.path() == folder / "a.sock");
    fs::current_path(before);
  }
  CHECK_FALSE(os::file_at(folder / "a.sock"));
}

TEST_CASE("a path may be longer than an address") {
  const Folder folder;
  const std::string deep = folder / std::string(100, 'd');
  fs::create_directory(deep);
  const std::string path = deep + "/" + std::string(80, 's');
  {
    const SocketFile file(path);
    CHECK(fs::is_socket(path));
    CHECK(client_failure(path) == 0);
    CHECK(failure(path) == EADDRINUSE);
  }
  CHECK_FALSE(os::file_at(path));
  CHECK(failure(deep + "/" + std::string(100, 's')) == ENAMETOOLONG);
}

TEST_CASE("the longest address fits whole") {
  const Folder folder;
  const std::string start = folder / "";
  for (const size_t length : {106U, 107U, 108U, 109U}) {
    const std::string path = start + std::string(length - start.size(), 's');
    INFO(length);
    const SocketFile file(path);
    CHECK(fs::is_socket(path));
    CHECK(client_failure(path) == 0);
  }
}

TEST_CASE("a socket needs a name and a folder") {
  const Folder folder;
  CHECK(failure(folder / "") == EINVAL);
  CHECK(failure("") == EINVAL);
  CHECK(failure(folder / std::string("a\0b", 3)) == EINVAL);
  CHECK(failure(folder / "none/a.sock") == ENOENT);
  test::write_file(folder / "file", "");
  CHECK(failure(folder / "file/a.sock") == ENOTDIR);
}

TEST_CASE("nobody there is one failure, however it comes about") {
  const Folder folder;
  test::write_file(folder / "file", "");
  for (const char* name : {"none", "no/such", "file", "file/x", ""}) {
    INFO(name);
    CHECK(client_failure(folder / name) == ECONNREFUSED);
  }
  CHECK(client_failure(folder / std::string(200, 'x')) == ECONNREFUSED);
}
