#include "lib/control/notify_socket.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <vector>

#include "lib/os/error.h"
#include "lib/os/unix_address.h"
#include "tests/unit/catch.h"
#include "tests/unit/notify.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::control;
using namespace std::chrono_literals;
using test::datagram_socket;
using test::Folder;
using test::send_to;
using test::Warnings;

TEST_CASE("a notify message is read strictly") {
  const auto fields = parse_notify("READY=1\nSTATUS=a=b\n\nnothing\n=x\nREADY=0\nEMPTY=\n");
  REQUIRE(fields);
  CHECK(*fields == NotifyFields{{"READY", "1"}, {"STATUS", "a=b"}, {"EMPTY", ""}});
  using namespace std::string_view_literals;
  CHECK(parse_notify("READY=1\0"sv));
  for (const auto text : {""sv, "\n"sv, "READY"sv, "=1"sv, "READY=1\0STATUS=x"sv})
    CHECK_FALSE(parse_notify(text));
}

namespace {

/// A notify socket and what came.
struct Heard {
  explicit Heard(const std::string& path)
      : socket(
            io, path, [this](const NotifyMessage& message) { messages.push_back(message); },
            warnings.take()) {}
  asio::io_context io{1};
  Warnings warnings;
  std::vector<NotifyMessage> messages;
  NotifySocket socket;
};

}  // namespace

TEST_CASE("a server is heard, with the number that the kernel knows") {
  const Folder folder;
  const mode_t usual = ::umask(077);
  Heard heard(folder / "notify");
  CHECK(::umask(usual) == 077);
  struct stat st {};
  REQUIRE(::stat((folder / "notify").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0777);
  const test::Child server([&] { send_to(heard.socket.name(), "READY=1\nMAINPID=1"); });
  while (heard.messages.empty())
    heard.io.run_one();
  CHECK(heard.messages[0].pid == server.pid());
  CHECK(heard.messages[0].uid == ::getuid());
  CHECK(heard.messages[0].says("READY", "1"));
  CHECK_FALSE(heard.messages[0].says("STOPPING", "1"));
}

TEST_CASE("without a path the kernel chooses a name, which no file system has") {
  Heard one(""), other("");
  CHECK(one.socket.name().starts_with("@"));
  CHECK(one.socket.name() != other.socket.name());
  REQUIRE(send_to(one.socket.name(), "READY=1"));
  one.io.poll();
  other.io.poll();
  CHECK(one.messages.size() == 1);
  CHECK(other.messages.empty());
}

TEST_CASE("descriptors that a server passes are closed unseen, which is what BARRIER=1 asks for") {
  const Folder folder;
  Heard heard(folder / "notify");
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  const os::Fd reader(ends[0]);
  os::Fd writer(ends[1]);
  REQUIRE(send_to(folder / "notify", "BARRIER=1", writer.get()));
  writer.reset();
  char byte = 0;
  CHECK(::read(reader.get(), &byte, 1) == -1);
  heard.io.poll();
  CHECK(heard.messages.size() == 1);
  CHECK(::read(reader.get(), &byte, 1) == 0);
}

TEST_CASE("a flood is read in portions, nonsense is ignored and reported once") {
  const Folder folder;
  Heard heard(folder / "notify");
  const os::Fd sender = datagram_socket();
  CHECK(send_to(folder / "notify", "X=" + std::string(5000, 'x')));
  CHECK(send_to(folder / "notify", "nonsense"));
  heard.io.poll();
  CHECK(heard.messages.empty());
  REQUIRE(heard.warnings.lines.size() == 1);
  CHECK(heard.warnings.lines[0].find("too long") != std::string::npos);
  size_t sent = 0;
  while (sent < 200 && send_to(folder / "notify", "READY=1"))
    ++sent;
  heard.io.restart();
  heard.io.poll_one();
  CHECK(heard.messages.size() == std::min<size_t>(sent, 64));
  heard.io.poll();
  CHECK(heard.messages.size() == sent);
}

TEST_CASE("a herd that was started anew is reached at the old place") {
  const Folder folder;
  const std::string path = folder / "notify";
  // As left behind by a herd that was killed.
  std::optional<test::Child> killed([&] {
    static std::optional<Heard> left;
    left.emplace(path);
  });
  CHECK_THROWS_AS(Heard(path), Error);
  CHECK(send_to(path, "READY=1"));
  killed.reset();
  CHECK_FALSE(send_to(path, "READY=1"));
  {
    Heard heard(path);
    CHECK(send_to(path, "READY=1"));
    heard.io.poll();
    CHECK(heard.messages.size() == 1);
  }
  CHECK_FALSE(os::file_at(path));
}

TEST_CASE("a notify socket removes sockets only, and at its end only itself") {
  const Folder folder;
  test::write_file(folder / "file", "precious");
  CHECK_THROWS_AS(Heard(folder / "file"), Error);
  CHECK(test::read_file(folder / "file") == "precious");
  {
    const Heard heard(folder / "notify");
    std::filesystem::remove(folder / "notify");
    test::write_file(folder / "notify", "another's");
  }
  CHECK(test::read_file(folder / "notify") == "another's");
}

TEST_CASE("a path with no room in an address is refused with a hint") {
  const Folder folder;
  const std::string path = folder / std::string(os::kLongestSocketPath, 'x');
  try {
    const Heard heard(path);
    FAIL("bound");
  } catch (const Error& error) {
    CHECK(error.err() == ENAMETOOLONG);
    CHECK(std::string(error.what()).find("at most 107 bytes") != std::string::npos);
    CHECK_FALSE(error.hint().empty());
  }
}
