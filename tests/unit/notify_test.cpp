#include "lib/herd/notify.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include <array>
#include <cerrno>
#include <vector>

#include "lib/os/error.h"
#include "lib/os/unix_address.h"
#include "tests/unit/catch.h"
#include "tests/unit/notify.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::herd;
using namespace std::chrono_literals;
using test::datagram_socket;
using test::Folder;
using test::send_to;
using test::Warnings;

namespace {

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
