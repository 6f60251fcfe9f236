#include "lib/flock/pidfile.h"

#include <sys/stat.h>

#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover::flock;
using drover::test::Folder;
using drover::test::write_file;

TEST_CASE("a pid is digits within the kernel's range") {
  CHECK(parse_pid("812") == 812);
  CHECK(parse_pid("812\n") == 812);
  CHECK(parse_pid(" 812 \r\n") == 812);
  CHECK(parse_pid("1") == 1);
  CHECK(parse_pid("4194304") == 4194304);
  for (const char* text : {"", "\n", "0", "-1", "+5", "4194305", "99999999999999999999", "812x",
                           "8 12", "0x10", "1e3", "812\n813"})
    CHECK_FALSE(parse_pid(text).has_value());
  CHECK_FALSE(parse_pid(std::string_view("8\0"
                                         "2",
                                         3))
                  .has_value());
}

TEST_CASE("a pidfile that names nobody says why") {
  const Folder folder;
  const std::string path = folder / "pid";
  CHECK(read_pidfile(path).problem == "No such file or directory");
  write_file(path, "");
  CHECK(read_pidfile(path).problem == "it is empty");
  write_file(path, "abc");
  CHECK(read_pidfile(path).problem == "it holds no process number");
  write_file(path, std::string(1 << 20, '1'));
  CHECK(read_pidfile(path).problem == "it is too long for a pidfile");
  CHECK(read_pidfile("/").problem == "it is not a regular file");
  ::mkfifo((folder / "fifo").c_str(), 0600);
  CHECK(read_pidfile(folder / "fifo").problem == "it is not a regular file");
  write_file(path, "12\n");
  CHECK(read_pidfile(path).pid == 12);
}
