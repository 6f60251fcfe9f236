#include "lib/herd/output.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <csignal>
#include <set>

#include "lib/herd/pace.h"
#include "lib/os/error.h"
#include "lib/os/procfs.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::herd;
using namespace std::chrono_literals;
using test::Child;
using test::Folder;
using Lines = std::vector<std::string>;

namespace {

constexpr auto kGenerous = 20s;

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    reader.reset(ends[0]);
    writer.reset(ends[1]);
  }
  /// Blocks until so many bytes have come.
  [[nodiscard]] std::string read(size_t size) const {
    std::string text;
    while (text.size() < size) {
      char byte = 0;
      if (::read(reader.get(), &byte, 1) != 1) break;
      text += byte;
    }
    return text;
  }
  os::Fd reader;
  os::Fd writer;
};

/// The herd's standard output and error.
struct Sinks {
  Pipe out;
  Pipe err;
  operator Output::Descriptors() const { return {out.writer.get(), err.writer.get()}; }
};

void say(int fd, const std::string& text) {
  REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

void wait_for_all_taken(Output& output) {
  asio::io_context io(1);
  asio::co_spawn(io, output.catch_up(kGenerous), asio::detached);
  io.run();
  REQUIRE(output.caught_up());
}

/// What it has passed on is noted by now: nobody will pass it on again.
void wait_until_at_rest(pid_t pid) {
  bool at_rest = false;
  const auto sleeps = [pid] {
    const auto stat = os::read_stat(pid);
    return stat && stat->state == 'S';
  };
  asio::io_context io(1);
  asio::co_spawn(io, until(sleeps, in(kGenerous)),
                 [&](const std::exception_ptr&, bool yes) { at_rest = yes; });
  io.run();
  REQUIRE(at_rest);
}

void reap(pid_t pid) { ::waitpid(pid, nullptr, 0); }

/// Everybody has let go of the server's ends: drover-output ends.
void expect_end(Output& output) {
  REQUIRE(output.finish(test::in(kGenerous)));
  reap(output.pid());
}

void kill_and_wait(pid_t pid) {
  const auto process = os::Process::open(pid);
  REQUIRE(process);
  REQUIRE(process->signal(SIGKILL));
  REQUIRE(process->wait_dead(test::in(kGenerous)));
  reap(pid);
}

/// A server with these as its standard output and error, which says something at once. It is
/// launched as the herd does it: afterwards we have no server's end any more.
std::unique_ptr<Child> launch(Output& output, const std::string& out, const std::string& err) {
  const auto ends = output.server_ends();
  auto server = std::make_unique<Child>([&] {
    ::dup2(ends[0], STDOUT_FILENO);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    (void)!::write(STDOUT_FILENO, out.data(), out.size());
    (void)!::write(STDERR_FILENO, err.data(), err.size());
  });
  output.launched();
  return server;
}

}  // namespace

TEST_CASE("the last lines of a text") {
  CHECK(last_lines("", 3).empty());
  CHECK(last_lines("a\nb\n\nc\n", 3) == Lines{"b", "", "c"});
  CHECK(last_lines("a\nb", 3) == Lines{"a", "b"});
  CHECK(last_lines("\na\n", 3) == Lines{"", "a"});
  CHECK(last_lines("\n", 3) == Lines{""});
  CHECK(last_lines("a\nb\n", 0).empty());
}

TEST_CASE("what a server says is passed on, and its last lines kept") {
  const Sinks sinks;
  Output output = Output::start(sinks);
  say(output.server_ends()[0], "GET /\n");
  say(output.server_ends()[1], "booting\n");
  CHECK(sinks.out.read(6) == "GET /\n");
  CHECK(sinks.err.read(8) == "booting\n");
  wait_for_all_taken(output);
  CHECK(output.lines_since({}).empty());
  const OutputMark mark = output.mark();
  CHECK_FALSE(mark.nothing_to_be_had());
  CHECK(output.lines_since(mark).empty());

  say(output.server_ends()[0], "GET /a\nGET /b\n");
  wait_for_all_taken(output);
  CHECK(output.lines_since(mark) == Lines{"GET /a", "GET /b"});
  say(output.server_ends()[1], "Traceback\nImportError: \xff");
  wait_for_all_taken(output);
  CHECK(output.lines_since(mark) == Lines{"Traceback", "ImportError: \xff"});
  CHECK(output.lines_since(mark, 1) == Lines{"ImportError: \xff"});
  expect_end(output);
}

TEST_CASE("of much that was written the last whole lines are kept") {
  const Folder folder;
  const os::Fd sink = os::try_open(folder / "log", O_WRONLY | O_CREAT | O_APPEND, 0600);
  Output output = Output::start({sink.get(), sink.get()});
  const OutputMark mark = output.mark();
  std::string all;
  for (int i = 0; i < 20000; ++i) {
    const std::string line = fmt::format("line {:06}\n", i);
    say(output.server_ends()[1], line);
    all += line;
  }
  wait_for_all_taken(output);
  const Lines lines = output.lines_since(mark, 100'000);
  CHECK(lines.front().size() == 11);
  CHECK(lines.back() == "line 019999");
  CHECK(lines.size() == StreamRing::kKept / 12);
  CHECK(lines.front() == fmt::format("line {:06}", 20000 - lines.size()));
  CHECK(output.lines_since(mark).size() == 20);
  expect_end(output);
  CHECK(test::read_file(folder / "log") == all);
}

TEST_CASE("the process holds nothing but its own descriptors and ends with the last writer") {
  const Folder folder;
  const os::Fd lock = os::try_open(folder / "lock", O_RDWR | O_CREAT, 0600);
  const os::Fd high = os::duplicate(lock.get(), 900, true);
  REQUIRE(high);
  REQUIRE(::flock(lock.get(), LOCK_SH) == 0);
  const Sinks sinks;
  Output output = Output::start(sinks);
  std::set<int> open;
  os::NumberedDir dir(fmt::format("/proc/{}/fd", output.pid()));
  for (int fd; (fd = dir.next()) >= 0;)
    open.insert(fd);
  CHECK(open == std::set<int>{0, 1, 2, 3, 4});
  const auto stat = os::read_stat(output.pid());
  REQUIRE(stat);
  CHECK(stat->command == kOutputName);
  CHECK(stat->session == output.pid());
  CHECK(std::filesystem::read_symlink(fmt::format("/proc/{}/cwd", output.pid())) == "/");

  auto server = launch(output, "", "");
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGALRM, SIGPIPE})
    REQUIRE(::kill(output.pid(), number) == 0);
  CHECK_FALSE(output.finish(test::in(50ms)));
  server->kill();
  expect_end(output);
}

TEST_CASE("a server writes on when both the herd and the process were killed") {
  const Sinks first;
  Output killed = Output::start(first);
  const auto server = launch(killed, "out\n", "err\n");
  CHECK(first.out.read(4) == "out\n");
  CHECK(first.err.read(4) == "err\n");
  // As /dev/stderr: a worker that writes after both are gone.
  const os::Fd worker = os::try_open(fmt::format("/proc/{}/fd/2", server->pid()), O_WRONLY);
  REQUIRE(worker);
  kill_and_wait(killed.pid());
  { const Output gone = std::move(killed); }
  const std::string much = std::string(200'000, 'x') + "\nlast words\n";
  say(worker.get(), much);

  const Sinks second;
  Output output = Output::adopt(server->pid(), second);
  REQUIRE(output.pid() != 0);
  CHECK(second.err.read(much.size()) == much);
  wait_for_all_taken(output);
  const OutputMark mark = output.mark(server->pid());
  CHECK_FALSE(mark.nothing_to_be_had());
  say(worker.get(), "more\n");
  wait_for_all_taken(output);
  CHECK(output.lines_since(mark) == Lines{"more"});
  CHECK_FALSE(output.finish(test::in(50ms)));
  kill_and_wait(output.pid());
}

TEST_CASE("a new herd replaces the process of the old one, and has what it kept") {
  const Sinks first;
  Output killed = Output::start(first);
  const auto server = launch(killed, "", "before\n");
  CHECK(first.err.read(7) == "before\n");
  const pid_t old = killed.pid();
  wait_until_at_rest(old);
  { const Output gone = std::move(killed); }
  const Sinks second;
  Output output = Output::adopt(server->pid(), second);
  reap(old);
  CHECK(output.pid() != old);
  os::Fd worker = os::try_open(fmt::format("/proc/{}/fd/2", server->pid()), O_WRONLY);
  say(worker.get(), "after\n");
  worker.reset();
  CHECK(second.err.read(6) == "after\n");
  wait_for_all_taken(output);
  OutputMark from_the_beginning = output.mark();
  from_the_beginning.places[1].position = 0;
  CHECK(output.lines_since(from_the_beginning) == Lines{"before", "after"});
  server->kill();
  expect_end(output);
}

TEST_CASE("what the old process could not pass on is passed on by its successor") {
  Sinks stuck;
  ::fcntl(stuck.err.writer.get(), F_SETPIPE_SZ, 4096);
  const std::string filling(4096, 'f');
  say(stuck.err.writer.get(), filling);
  Output output = Output::start(stuck);
  const auto server = launch(output, "", "waits\n");
  wait_for_all_taken(output);  // taken, and now it blocks
  kill_and_wait(output.pid());
  CHECK(output.revive());
  CHECK_FALSE(output.revive());
  CHECK(stuck.err.read(4096 + 6) == filling + "waits\n");
  server->kill();
  expect_end(output);
  CHECK_FALSE(output.revive());
}

TEST_CASE("a sink that somebody has made non-blocking is waited for") {
  Sinks sinks;
  ::fcntl(sinks.err.writer.get(), F_SETPIPE_SZ, 4096);
  ::fcntl(sinks.err.writer.get(), F_SETFL, O_NONBLOCK);
  Output output = Output::start(sinks);
  std::string much;
  for (int i = 0; i < 2000; ++i)
    much += fmt::format("line {}\n", i);
  say(output.server_ends()[1], much);
  CHECK(sinks.err.read(much.size()) == much);
  expect_end(output);
}

TEST_CASE("a sink that is gone stops nobody") {
  Sinks sinks;
  Output output = Output::start(sinks);
  sinks.err.reader.reset();
  say(output.server_ends()[1], "nobody reads\n");
  wait_for_all_taken(output);
  say(output.server_ends()[0], "but here\n");
  CHECK(sinks.out.read(9) == "but here\n");
  say(output.server_ends()[1], "still not\n");
  wait_for_all_taken(output);
  auto mark = output.mark();
  mark.places[1].position = 0;
  CHECK(output.lines_since(mark) == Lines{"nobody reads", "still not"});
  expect_end(output);
}

TEST_CASE("somebody else's pipe is left alone") {
  const Pipe log;
  const Child server([&] {
    ::dup2(log.writer.get(), STDOUT_FILENO);
    ::dup2(log.writer.get(), STDERR_FILENO);
    (void)!::write(STDERR_FILENO, "theirs\n", 7);
  });
  const Output output = Output::adopt(server.pid());
  CHECK(output.pid() == 0);
  CHECK(output.mark(server.pid()).nothing_to_be_had());
  CHECK(log.read(7) == "theirs\n");
}

TEST_CASE("a server's own log is read from the mark on, /dev/null says nothing") {
  const Folder folder;
  const std::string log = folder / "stderr.log";
  test::write_file(log, "old\n");
  const Child server([&] {
    ::dup2(::open(log.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC), STDERR_FILENO);
    ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
  });
  const Child silent([&] {
    for (const int fd : {STDOUT_FILENO, STDERR_FILENO})
      ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), fd);
  });
  const Sinks sinks;
  Output output = Output::start(sinks);
  const OutputMark mark = output.mark(server.pid());
  CHECK_FALSE(mark.nothing_to_be_had());
  CHECK(output.lines_since(mark).empty());
  std::ofstream(log, std::ios::app) << "new\nSyntaxError\n";
  CHECK(output.lines_since(mark) == Lines{"new", "SyntaxError"});
  std::ofstream(log, std::ios::app) << std::string(20000, 'y') << "\nend\n";
  CHECK(output.lines_since(mark) == Lines{"end"});
  test::write_file(log, "copied and truncated\n");
  CHECK(output.lines_since(output.mark(server.pid())).empty());

  CHECK(output.mark(silent.pid()).nothing_to_be_had());
  expect_end(output);
}

TEST_CASE("a log that was emptied after the mark is read from its beginning") {
  const Folder folder;
  const std::string log = folder / "stderr.log";
  test::write_file(log, "something long\n");
  const Child server(
      [&] { ::dup2(::open(log.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC), STDERR_FILENO); });
  const Output output = Output::adopt(server.pid());
  const OutputMark mark = output.mark(server.pid());
  test::write_file(log, "new\n");
  CHECK(output.lines_since(mark) == Lines{"new"});
}

TEST_CASE("a ring gives the last 16 KiB exactly") {
  const OutputRing ring = OutputRing::create();
  StreamRing& stream = ring.stream(1);
  const uint64_t end = 3 * StreamRing::kSize + 100;
  for (uint64_t at = 0; at < end; ++at)
    stream.bytes.at(at % StreamRing::kSize) = static_cast<char>('a' + at % 23);
  stream.taken = end;
  const Remainder all = ring.since(1, 0);
  CHECK(all.cut);
  CHECK(all.text.size() == StreamRing::kKept);
  CHECK(all.text.front() == static_cast<char>('a' + (end - StreamRing::kKept) % 23));
  CHECK(all.text.back() == static_cast<char>('a' + (end - 1) % 23));
  const Remainder few = ring.since(1, end - 200);
  CHECK_FALSE(few.cut);
  CHECK(few.text.size() == 200);
  CHECK(ring.since(1, end + 5).text.empty());
  CHECK(ring.since(0, 0).text.empty());
}

TEST_CASE("only a sealed ring of this version is taken over") {
  const Folder folder;
  test::write_file(folder / "file", std::string(2 * sizeof(StreamRing) + 8, '\0'));
  CHECK_FALSE(OutputRing::open(folder / "file"));
  const OutputRing ring = OutputRing::create();
  const std::string path = fmt::format("/proc/self/fd/{}", ring.fd());
  CHECK(OutputRing::open(path));
  CHECK(::ftruncate(ring.fd(), 0) == -1);
  const uint64_t nothing = 0;
  REQUIRE(::pwrite(ring.fd(), &nothing, sizeof nothing, 0) == sizeof nothing);
  CHECK_FALSE(OutputRing::open(path));
}
