#include "lib/os/fd.h"

#include <sys/resource.h>

#include <cerrno>

#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;

TEST_CASE("a descriptor is closed once, and errno is kept") {
  int number;
  {
    const os::Fd fd = os::try_open("/dev/null", O_RDONLY);
    number = fd.get();
    CHECK((::fcntl(number, F_GETFD) & FD_CLOEXEC) != 0);
    errno = EPIPE;
  }
  CHECK(errno == EPIPE);
  CHECK_FALSE(os::is_open(number));
}

TEST_CASE("a moved descriptor has one owner") {
  os::Fd first = os::try_open("/dev/null", O_RDONLY);
  const int number = first.get();
  os::Fd second = std::move(first);
  CHECK_FALSE(first);
  CHECK(second.get() == number);
  os::Fd& same = second;
  second = std::move(same);
  CHECK(os::is_open(number));
}

TEST_CASE("the raised limit of descriptors comes back") {
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit low = before;
  low.rlim_cur = 64;
  ::setrlimit(RLIMIT_NOFILE, &low);
  {
    const os::RaisedDescriptorLimit raised;
    rlimit now{};
    ::getrlimit(RLIMIT_NOFILE, &now);
    CHECK(now.rlim_cur == before.rlim_max);
  }
  rlimit after{};
  ::getrlimit(RLIMIT_NOFILE, &after);
  CHECK(after.rlim_cur == 64);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_CASE("paths are split and made absolute") {
  CHECK(os::split_path("a/b") == std::pair<std::string, std::string>("a", "b"));
  CHECK(os::split_path("/b") == std::pair<std::string, std::string>("/", "b"));
  CHECK(os::split_path("b") == std::pair<std::string, std::string>(".", "b"));
  CHECK(os::absolute("/x") == "/x");
  CHECK(os::absolute("x") == std::filesystem::current_path().string() + "/x");
}

TEST_CASE("an error says what, on what and why") {
  CHECK(std::string(Error(ENOENT, "open", "/x").what()) ==
        "cannot open '/x': No such file or directory");
  CHECK(std::string(Error::because(EINVAL, "lock", {}, "no reason").what()) ==
        "cannot lock: no reason");
}
