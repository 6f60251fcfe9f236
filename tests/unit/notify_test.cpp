#include "lib/herd/notify.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include <array>
#include <cerrno>
#include <vector>

#include "lib/herd/notify_socket.h"
#include "lib/os/error.h"
#include "lib/os/unix_address.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::herd;
using namespace std::chrono_literals;
using test::Folder;

namespace {

os::Fd datagram_socket() {
  return os::Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/// A supervisor's side: raw, read by hand.
class Receiver {
 public:
  explicit Receiver(const std::string& name) : socket_(datagram_socket()) {
    const auto address = os::unix_address(name);
    REQUIRE(::bind(socket_.get(), address->get(), address->size) == 0);
  }
  /// The next message; empty when there is none.
  std::string next() {
    std::array<char, 8192> text;
    const ssize_t size = ::recv(socket_.get(), text.data(), text.size(), 0);
    return size < 0 ? "" : std::string(text.data(), static_cast<size_t>(size));
  }

 private:
  os::Fd socket_;
};

/// A server's side. False when there was no room, or nobody to take it; errno says which.
bool send_to(const std::string& name, const std::string& text, int passed = -1) {
  const os::Fd socket = datagram_socket();
  const auto address = os::unix_address(name);
  iovec place{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_name = const_cast<sockaddr*>(address->get());
  message.msg_namelen = address->size;
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (passed >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    *reinterpret_cast<int*>(CMSG_DATA(part)) = passed;
  }
  return ::sendmsg(socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

struct Warnings {
  std::vector<std::string> lines;
  drover::flock::Notice take() {
    return [this](const std::string& line) { lines.push_back(line); };
  }
};

long long monotonic_usec() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000LL + now.tv_nsec / 1000;
}

std::optional<std::chrono::microseconds> interval(const std::string& usec, const std::string& pid) {
  asio::io_context io(1);
  return Notifier(io, {"@somewhere", usec, pid}, {}).watchdog_interval();
}

}  // namespace

TEST_CASE("a supervisor is told what sd_notify(3) has for it") {
  const Folder folder;
  Receiver supervisor(folder / "notify");
  asio::io_context io(1);
  Warnings warnings;
  Notifier notifier(io, {folder / "notify", "3000000", ""}, warnings.take());
  CHECK(notifier.speaks());
  notifier.ready("serving");
  CHECK(supervisor.next() == "READY=1\nSTATUS=serving");
  notifier.ready();
  CHECK(supervisor.next() == "READY=1");
  const long long before = monotonic_usec();
  notifier.reloading("reloading");
  const std::string text = supervisor.next();
  long long stamp = 0;
  REQUIRE(std::sscanf(text.c_str(), "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reloading", &stamp) ==
          1);
  CHECK(stamp >= before);
  CHECK(stamp <= monotonic_usec());
  notifier.stopping("stopping");
  CHECK(supervisor.next() == "STOPPING=1\nSTATUS=stopping");
  notifier.extend(1500ms);
  CHECK(supervisor.next() == "EXTEND_TIMEOUT_USEC=1500000");
  notifier.main_pid(42);
  CHECK(supervisor.next() == "MAINPID=42");
  notifier.watchdog();
  CHECK(supervisor.next() == "WATCHDOG=1");
  CHECK(warnings.lines.empty());
}

TEST_CASE("an abstract socket is spoken to") {
  const std::string name = fmt::format("@drover-test-{}", ::getpid());
  Receiver supervisor(name);
  asio::io_context io(1);
  Notifier(io, {name, "", ""}, {}).ready();
  CHECK(supervisor.next() == "READY=1");
}

TEST_CASE("a status stays one harmless line of UTF-8") {
  const std::string name = fmt::format("@drover-test-{}", ::getpid());
  Receiver supervisor(name);
  asio::io_context io(1);
  Notifier notifier(io, {name, "", ""}, {});
  notifier.status(
      "a\nMAINPID=1\x1b[2J\x7f\xc2\x9b m\xc3\xbc\xe2\x82\xac \xff\xc0\xaf\xed\xa0\x80.");
  CHECK(supervisor.next() == "STATUS=a MAINPID=1?[2J?? m\xc3\xbc\xe2\x82\xac ??????.");
  notifier.status("");
  CHECK(supervisor.next() == "STATUS=");
  std::string longest(1023, 'x');
  notifier.status(longest + "\xc3\xbc");
  CHECK(supervisor.next() == "STATUS=" + longest);
}

TEST_CASE("without a supervisor nothing is said, one that is gone is reported once") {
  const Folder folder;
  asio::io_context io(1);
  Warnings warnings;
  Notifier none(io, {"", "3000000", ""}, warnings.take());
  CHECK_FALSE(none.speaks());
  CHECK_FALSE(none.watchdog_interval());
  none.ready();
  CHECK(warnings.lines.empty());

  Notifier gone(io, {folder / "notify", "", ""}, warnings.take());
  gone.ready();
  gone.stopping();
  REQUIRE(warnings.lines.size() == 1);
  CHECK(warnings.lines[0] == "cannot notify the supervisor at '" + folder / "notify" +
                                 "': No such file or directory, ignoring");
}

TEST_CASE("kinds of sockets that are not spoken are refused with a warning") {
  asio::io_context io(1);
  for (const char* name : {"vsock:2:1234", "vsock-stream:2:1", "relative/path"}) {
    Warnings warnings;
    Notifier notifier(io, {name, "3000000", ""}, warnings.take());
    notifier.ready();
    CHECK_FALSE(notifier.speaks());
    CHECK_FALSE(notifier.watchdog_interval());
    CHECK(warnings.lines.size() == 1);
  }
}

TEST_CASE("what a supervisor has no room for is sent later, in its order") {
  const std::string name = fmt::format("@drover-test-{}", ::getpid());
  Receiver supervisor(name);
  while (send_to(name, "X=1")) {
  }
  REQUIRE(errno == EAGAIN);
  asio::io_context io(1);
  Warnings warnings;
  Notifier notifier(io, {name, "2", ""}, warnings.take());
  notifier.stopping();
  notifier.watchdog();
  notifier.watchdog();
  notifier.ready();
  io.poll();
  std::string heard;
  for (std::string text = supervisor.next(); !text.empty(); text = supervisor.next())
    if (text != "X=1") heard += text;
  CHECK(heard.empty());
  io.restart();
  io.run();  // returns: nothing is waited for afterwards
  for (std::string text = supervisor.next(); !text.empty(); text = supervisor.next())
    heard += text + " ";
  CHECK(heard == "STOPPING=1 WATCHDOG=1 READY=1 ");
  CHECK(warnings.lines.empty());
}

TEST_CASE("what waits for a supervisor is bounded") {
  const std::string name = fmt::format("@drover-test-{}", ::getpid());
  std::optional<Receiver> supervisor(name);
  while (send_to(name, "X=1")) {
  }
  asio::io_context io(1);
  Warnings warnings;
  Notifier notifier(io, {name, "", ""}, warnings.take());
  for (int i = 0; i < 100; ++i)
    notifier.status(std::to_string(i));
  CHECK(warnings.lines.size() == 1);
  supervisor.reset();
  io.run();
  CHECK(warnings.lines.size() == 1);
}

TEST_CASE("a watchdog is fed twice in its time, by whom it is meant for") {
  const std::string own = std::to_string(::getpid());
  CHECK(interval("3000000", "") == 1500ms);
  CHECK(interval("3000000", own) == 1500ms);
  CHECK(interval("1", own) == 1us);
  CHECK_FALSE(interval("3000000", "1" + own));
  CHECK_FALSE(interval("3000000", "x"));
  for (const char* usec : {"", "0", "-1", "3s", "18446744073709551615", "99999999999999999999"})
    CHECK_FALSE(interval(usec, ""));
}

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
  const test::Child server([&] { send_to(heard.socket.path(), "READY=1\nMAINPID=1"); });
  while (heard.messages.empty())
    heard.io.run_one();
  CHECK(heard.messages[0].pid == server.pid());
  CHECK(heard.messages[0].uid == ::getuid());
  CHECK(heard.messages[0].says("READY", "1"));
  CHECK_FALSE(heard.messages[0].says("STOPPING", "1"));
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
