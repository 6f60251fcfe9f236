#include "lib/os/procfs.h"

#include <algorithm>
#include <cstdlib>

#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;

TEST_CASE("a stat line is read whatever the command is called") {
  const std::string tail =
      " S 10 20 30 0 -1 4194308 1 0 0 0 1 2 0 0 20 0 5 0 123456 1000 10 18446744073709551615";
  for (const char* name : {"sh", "a b", "a) b", ") S 1 (", "a\nb", ""}) {
    const auto stat = os::parse_stat("812 (" + std::string(name) + ")" + tail);
    REQUIRE(stat);
    CHECK(stat->pid == 812);
    CHECK(stat->command == name);
    CHECK(stat->state == 'S');
    CHECK(stat->parent == 10);
    CHECK(stat->group == 20);
    CHECK(stat->session == 30);
    CHECK(stat->exiting());
    CHECK(stat->threads == 5);
    CHECK(stat->start == 123456);
  }
}

TEST_CASE("broken stat lines are refused") {
  for (const char* text : {"", "812", "812 (sh", "812 (sh)", "812 (sh) S", "x (sh) S 1 2 3", ")(",
                           "812 (sh) S 10 20 30 0 -1"})
    CHECK_FALSE(os::parse_stat(text).has_value());
}

TEST_CASE("this process is found with its parents") {
  const auto all = os::all_processes();
  CHECK(std::binary_search(all.begin(), all.end(), ::getpid()));
  const auto stat = os::read_stat(::getpid());
  REQUIRE(stat);
  CHECK(stat->parent == ::getppid());
  CHECK_FALSE(stat->exiting());
  const auto ancestors = os::ancestors_of(::getpid());
  REQUIRE_FALSE(ancestors.empty());
  CHECK(ancestors.front() == ::getppid());
}

TEST_CASE("children are listed") {
  const test::Child first, second;
  const auto children = os::children_of(::getpid());
  CHECK(std::count(children.begin(), children.end(), first.pid()) == 1);
  CHECK(std::count(children.begin(), children.end(), second.pid()) == 1);
  CHECK(os::children_of(first.pid()).empty());
}

TEST_CASE("reading is bounded") {
  CHECK(os::read_proc("/proc/self/status", 10).size() == 10);
  CHECK(os::read_proc("/proc/no/such/file").empty());
}

TEST_CASE("an environment is read as it was given to the image") {
  const std::string path = std::getenv("PATH");
  REQUIRE(::setenv("PATH", "/nowhere", 1) == 0);
  CHECK(os::environment_of(::getpid())["PATH"] == path);
  REQUIRE(::setenv("PATH", path.c_str(), 1) == 0);
  CHECK_FALSE(os::environment_of(::getpid()).contains("PAT"));
  CHECK(os::environment_of(0).empty());
}
