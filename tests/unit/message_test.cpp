#include "lib/cli/message.h"

#include <cerrno>

#include "lib/cli/exit_codes.h"
#include "tests/unit/catch.h"

using namespace drover::cli;

TEST_CASE("a line starts with the program and stays one line") {
  set_program("tool");
  CHECK(compose_line(Level::error, "cannot do 'x'", false) == "tool: cannot do 'x'\n");
  CHECK(compose_line(Level::error, "a\nb\x1b[2J", false) == "tool: a\\x0ab\\x1b[2J\n");
  CHECK(compose_line(Level::error, "\xc3\xa4", false) == "tool: \xc3\xa4\n");
  CHECK(compose_line(Level::error,
                     "\xc2\x9b"
                     "31m",
                     false) == "tool: \\xc2\\x9b31m\n");
}

TEST_CASE("the journal gets priorities") {
  set_program("tool");
  CHECK(compose_line(Level::error, "x", true) == "<3>tool: x\n");
  CHECK(compose_line(Level::warning, "x", true) == "<4>tool: x\n");
  CHECK(compose_line(Level::notice, "x", true) == "<5>tool: x\n");
  CHECK(compose_line(Level::detail, "x", true) == "<6>tool: x\n");
}

TEST_CASE("errno values have their exit codes") {
  CHECK(exit_code_for(ENOENT) == 66);
  CHECK(exit_code_for(EISDIR) == 66);
  CHECK(exit_code_for(EACCES) == 77);
  CHECK(exit_code_for(ENOSPC) == 73);
  CHECK(exit_code_for(EMFILE) == 71);
  CHECK(exit_code_for(EDEADLK) == 78);
  CHECK(exit_code_for(EBADMSG) == 65);
}
