#include "lib/flock/generation.h"

#include <sys/stat.h>

#include "lib/flock/wait.h"
#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::flock;
using test::Folder;

namespace {

Generation begin(const std::string& path) {
  return begin_generation(path, Mode::shared, 0600, Patience::none());
}

}  // namespace

TEST_CASE("generations count from zero, each in a file of its own") {
  const Folder folder;
  const std::string path = folder / "a";
  os::FileId last;
  for (unsigned number = 0; number < 4; ++number) {
    const Generation generation = begin(path);
    REQUIRE(generation.acquired == Acquired::yes);
    CHECK(generation.file->at_path());
    CHECK(generation.file->path() == path);
    CHECK(generation_of(*generation.file) == number);
    CHECK(generation.file->id() != last);
    last = generation.file->id();
    CHECK_FALSE(os::file_at(path + ".new"));
  }
}

TEST_CASE("a generation does not begin while the last one lives") {
  const Folder folder;
  const Generation first = begin(folder / "a");
  const os::FileId before = *os::file_at(folder / "a");
  CHECK(begin(folder / "a").acquired == Acquired::busy);
  CHECK(os::file_at(folder / "a") == before);
}

TEST_CASE("a file with foreign content is never replaced") {
  const Folder folder;
  for (const char* text : {"precious", "generation", "generation x\n", "generation 1",
                           "generation -1\n", "generation 1\nmore"}) {
    test::write_file(folder / "a", text);
    CHECK_THROWS_AS(begin(folder / "a"), Error);
    CHECK(test::read_file(folder / "a") == text);
  }
}

TEST_CASE("a draft left by a killed caller is replaced") {
  const Folder folder;
  begin(folder / "a");
  test::write_file((folder / "a") + ".new", "half");
  CHECK(begin(folder / "a").acquired == Acquired::yes);
  CHECK(test::read_file(folder / "a") == "generation 1\n");
}

TEST_CASE("a new generation keeps the mode of the old file") {
  const Folder folder;
  begin(folder / "a");
  ::chmod((folder / "a").c_str(), 0640);
  begin(folder / "a");
  struct stat st {};
  ::stat((folder / "a").c_str(), &st);
  CHECK((st.st_mode & 07777) == 0640);
}

TEST_CASE("what follows a lock that was freed") {
  const Folder folder;
  const std::string path = folder / "a";
  SECTION("nothing") {
    const LockFile freed = LockFile::open_or_create(path, 0600);
    CHECK(afterlife(freed) == Afterlife::gone);
    ::unlink(path.c_str());
    CHECK(afterlife(freed) == Afterlife::gone);
    ::mkdir(path.c_str(), 0700);
    CHECK(afterlife(freed) == Afterlife::gone);
  }
  SECTION("a new generation, or several") {
    const LockFile freed = LockFile::open_or_create(path, 0600);
    begin(path);
    const Generation last = begin(path);
    CHECK(afterlife(freed) == Afterlife::restarted);
  }
  SECTION("another file, held or not") {
    const LockFile freed = LockFile::open_or_create(path, 0600);
    ::unlink(path.c_str());
    LockFile other = LockFile::open_or_create(path, 0600);
    CHECK(afterlife(freed) == Afterlife::gone);
    REQUIRE(try_acquire(other, Mode::shared));
    CHECK(afterlife(freed) == Afterlife::replaced);
  }
}
