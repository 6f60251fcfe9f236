#include "lib/herd/probe.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <asio/co_spawn.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <cstring>
#include <thread>

#include "lib/os/error.h"
#include "lib/os/signals.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace std::chrono_literals;
using herd::parse_probe;
using os::Children;
using test::Folder;

namespace {

/// An event loop that reaps its children as drover-herd does.
class Loop {
 public:
  Loop()
      : blocked_(os::signal_set({SIGCHLD, SIGTERM})),
        signalfd_(os::open_signalfd(os::signal_set({SIGCHLD}))),
        signals_(io, signalfd_.get()) {
    take_signals();
  }
  ~Loop() { signals_.release(); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// What the probe says. Nothing is left in the loop afterwards: no timer, no open end.
  std::string ask(const std::string& probe, std::chrono::milliseconds limit = 20s) {
    return ask(parse_probe(probe), limit);
  }
  std::string ask(herd::Probe probe, std::chrono::milliseconds limit = 20s) {
    std::string reason;
    std::exception_ptr failure;
    asio::co_spawn(io,
                   herd::try_probe(io, std::move(probe), *test::in(limit),
                                   {children, {"PATH=/usr/bin:/bin", "MASTER=812"}}),
                   [&](const std::exception_ptr& error, std::string words) {
                     failure = error;
                     reason = std::move(words);
                     io.stop();
                   });
    io.run();
    if (failure) std::rethrow_exception(failure);
    signals_.cancel();
    io.restart();
    const auto before = std::chrono::steady_clock::now();
    io.run();
    CHECK(std::chrono::steady_clock::now() - before < limit / 2 + 5ms);
    io.restart();
    take_signals();
    return reason;
  }

  asio::io_context io{1};
  Children children{io};

 private:
  void take_signals() {
    signals_.async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code error) {
      if (error) return;
      signalfd_siginfo_bytes taken;
      while (::read(signalfd_.get(), taken, sizeof taken) > 0) {
      }
      children.reap();
      take_signals();
    });
  }
  using signalfd_siginfo_bytes = char[128];

  os::BlockedSignals blocked_;
  os::Fd signalfd_;
  asio::posix::stream_descriptor signals_;
};

/// Answers one connection after the other, each with the same words, until it goes.
class Answering {
 public:
  explicit Answering(std::string answer, bool closes = true)
      : answer_(std::move(answer)), closes_(closes), socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    ::listen(socket_.get(), 8);
    ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this] { serve(); });
  }
  ~Answering() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;

  std::string port;
  std::string request;  ///< the last one; read it when the probe has its answer

 private:
  void serve() {
    os::Fd client;
    for (;;) {
      client.reset(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      request.clear();
      while (request.find("\r\n\r\n") == std::string::npos) {
        char chunk[512];
        const ssize_t size = ::read(client.get(), chunk, sizeof chunk);
        if (size <= 0) break;
        request.append(chunk, static_cast<size_t>(size));
      }
      (void)::send(client.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL);
      if (closes_) client.reset();
    }
  }

  std::string answer_;
  bool closes_;
  os::Fd socket_;
  std::thread thread_;
};

std::string status(const std::string& line) { return "HTTP/1.1 " + line + "\r\nA: b\r\n\r\nbody"; }

void wait_until_gone(pid_t pid) {
  const auto process = os::Process::open(pid);
  if (process) CHECK(process->wait_dead(test::in(20s)));
}

}  // namespace

TEST_CASE("a probe that cannot be read says why") {
  const std::pair<const char*, const char*> bad[] = {
      {"", "begins with none of"},
      {"80", "begins with none of"},
      {"tcp:", "the port is none of"},
      {"tcp:0", "the port is none of"},
      {"tcp:65536", "the port is none of"},
      {"tcp:127.0.0.1", "it has no port"},
      {"tcp:127.0.0.1:", "the port is none of"},
      {"tcp:127.0.0.1:8x", "the port is none of"},
      {"tcp:[::1]", "it has no port"},
      {"tcp:::1:80", "the host is no"},
      {"tcp:[127.0.0.1]:80", "the host is no"},
      {"tcp:example.org:80", "the host is no"},
      {"unix:", "it has no path"},
      {"http://", "the host is no"},
      {"http://user@127.0.0.1/", "the host is no"},
      {"http://127.0.0.1:/", "the port is none of"},
      {"http://127.0.0.1/a b", "written as %XX"},
      {"http://127.0.0.1/\r\nX: y", "written as %XX"},
      {"http://127.0.0.1#a", "written as %XX"},
      {"http+unix:", "it has no path"},
      {"http+unix:/a:b", "does not begin with '/'"},
      {"exec: ", "it has no command"},
      {"https://127.0.0.1/", "TLS"}};
  for (const auto& [text, why] : bad) {
    INFO(text);
    try {
      (void)parse_probe(text);
      FAIL("it was accepted");
    } catch (const Error& error) {
      CHECK(error.err() == EINVAL);
      CHECK(std::string(error.what()).starts_with("cannot use the probe '" + std::string(text)));
      CHECK(std::string(error.what()).find(why) != std::string::npos);
    }
  }
  CHECK_THROWS_AS(parse_probe("unix:/" + std::string(107, 'a')), Error);
  CHECK(parse_probe("unix:/" + std::string(106, 'a')).endpoints.size() == 1);
}

TEST_CASE("what a probe asks") {
  CHECK(parse_probe("tcp:80").endpoints == parse_probe("tcp:localhost:80").endpoints);
  CHECK(parse_probe("tcp:80").endpoints.size() == 2);
  CHECK(parse_probe("http://[::1]").endpoints == parse_probe("tcp:[::1]:80").endpoints);
  CHECK(parse_probe("http://[::1]:81").endpoints == parse_probe("tcp:[::1]:81").endpoints);
  CHECK(parse_probe("http://127.0.0.1?a=b").request.starts_with("GET /?a=b HTTP/1.1\r\n"));
  const auto over_unix = parse_probe("http+unix:/run/app.sock:/health");
  CHECK(over_unix.endpoints == parse_probe("unix:/run/app.sock").endpoints);
  CHECK(over_unix.request.starts_with("GET /health HTTP/1.1\r\nHost: localhost\r\n"));
  CHECK(parse_probe("http+unix:a.sock").request.starts_with("GET / "));
  CHECK(parse_probe("exec:a | b").command == "a | b");
}

TEST_CASE("a connection is enough for tcp and unix") {
  Loop loop;
  std::string port;
  {
    const Answering server("");
    port = server.port;
    CHECK(loop.ask("tcp:" + port).empty());
    CHECK(loop.ask("tcp:localhost:" + port).empty());
  }
  CHECK(loop.ask("tcp:127.0.0.1:" + port) == "connection refused");
  CHECK(loop.ask("tcp:" + port) == "connection refused");
  auto several = parse_probe("tcp:127.0.0.1:" + port);
  several.endpoints.push_back(parse_probe("unix:/nowhere").endpoints[0]);
  CHECK(loop.ask(several) == "connection refused");  // what the first one says

  const Folder folder;
  CHECK(loop.ask("unix:" + (folder / "socket")) == "no such file or directory");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, (folder / "socket").c_str());
  const os::Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(socket.get(), 1) == 0);
  CHECK(loop.ask("unix:" + (folder / "socket")).empty());
  CHECK(loop.ask("unix:" + (folder / "socket")).empty());
  CHECK(loop.ask("unix:" + (folder / "socket")) == "its queue of connections is full");
}

TEST_CASE("HTTP passes with a status from 200 to 399") {
  Loop loop;
  const std::pair<std::string, std::string> answers[] = {
      {status("200 OK"), ""},
      {status("204"), ""},
      {status("302 Found"), ""},
      {status("399"), ""},
      {status("400 Bad Request"), "HTTP status 400"},
      {status("503 Service Unavailable"), "HTTP status 503"},
      {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\n\r\n", "HTTP status 500"},
      {status("101 Switching Protocols"), "HTTP status 101"},
      {"", "the connection was closed without an answer"},
      {"HTTP/1.1 200 OK\r\n", "the connection was closed without an answer"},
      {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "what answers does not speak HTTP"},
      {"HTTP/1.1 200 OK\r\nA: " + std::string(9000, 'a'), "its header has more than 8192 bytes"}};
  for (const auto& [answer, reason] : answers) {
    INFO(answer);
    const Answering server(answer);
    CHECK(loop.ask("http://127.0.0.1:" + server.port + "/health?a") == reason);
    CHECK(server.request == "GET /health?a HTTP/1.1\r\nHost: 127.0.0.1:" + server.port +
                                "\r\nUser-Agent: drover\r\nAccept: */*\r\n"
                                "Connection: close\r\n\r\n");
  }
}

TEST_CASE("the deadline is an answer") {
  Loop loop;
  const Answering silent("HTTP/1.1 200 OK\r\n", false);
  CHECK(loop.ask("http://localhost:" + silent.port + "/", 100ms) == "no answer in 100 ms");
  const auto before = std::chrono::steady_clock::now();
  CHECK(loop.ask("exec:echo a; echo 'b c'; exec sleep 1000", 100ms) == "no answer in 100 ms: b c");
  CHECK(std::chrono::steady_clock::now() - before < 10s);
}

TEST_CASE("a command passes with status 0") {
  Loop loop;
  CHECK(loop.ask("exec:true").empty());
  CHECK(loop.ask("exec:exit 3") == "exited with status 3");
  CHECK(loop.ask("exec:echo first; printf ' last\\033[0m\\n\\n ' >&2; exit 3") ==
        "exited with status 3: last?[0m");
  CHECK(loop.ask("exec:printf '%9999s' a; exit 1").size() ==
        std::string("exited with status 1: a").size());
  CHECK(loop.ask("exec:kill -TERM $$") == "was killed by SIGTERM");  // which is blocked here
  CHECK(loop.ask("exec:test \"$MASTER\" = 812 && test -z \"$HOME\"").empty());
  CHECK(loop.ask("exec:test $(ps -o pgid= -p $$) = $$").empty());
  CHECK(loop.ask("exec:nowhere").starts_with("exited with status 127: sh: 1: nowhere: not found"));
}

TEST_CASE("a command has no input, whatever its parent has") {
  Loop loop;
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const os::Fd reader(ends[0]);
  const os::Fd writer(ends[1]);
  const os::Fd before(::dup(STDIN_FILENO));
  ::dup2(reader.get(), STDIN_FILENO);
  const std::string reason = loop.ask("exec:cat", 5s);
  ::dup2(before.get(), STDIN_FILENO);
  CHECK(reason.empty());
}

TEST_CASE("a flood of words is read to its end, and only that is kept") {
  Loop loop;
  CHECK(loop.ask("exec:head -c 1000000 /dev/zero | tr '\\0' a; echo; echo end; exit 1") ==
        "exited with status 1: end");
  CHECK(loop.ask("exec:head -c 5000 /dev/zero | tr '\\0' a; exit 1") ==
        "exited with status 1: " + std::string(200, 'a'));
}

TEST_CASE("a command is killed with all that it started, or let be with it") {
  Loop loop;
  const Folder folder;
  const std::string starts = "exec:sleep 1000 & echo $! > " + (folder / "pid") + "; ";
  CHECK(loop.ask(starts + "wait", 200ms) == "no answer in 200 ms");
  wait_until_gone(std::stoi(test::read_file(folder / "pid")));

  CHECK(loop.ask(starts + "exit 0").empty());  // although somebody has the pipe still
  const pid_t left = std::stoi(test::read_file(folder / "pid"));
  CHECK(::kill(left, SIGKILL) == 0);
  wait_until_gone(left);
}

TEST_CASE("a probe that is given up has killed its command") {
  const Folder folder;
  {
    Loop loop;
    asio::co_spawn(loop.io,
                   herd::try_probe(loop.io, parse_probe("exec:exec sleep 1000"), *test::in(20s),
                                   {loop.children, {"PATH=/bin"}}),
                   [](const std::exception_ptr&, const std::string&) {});
    loop.io.poll();
  }
  int status = 0;
  CHECK(::waitpid(-1, &status, 0) > 0);
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
}

TEST_CASE("a command's last words are read, also when its end is known first") {
  asio::io_context io(1);
  Children children(io);
  std::string reason;
  asio::co_spawn(
      io,
      herd::try_probe(io, parse_probe("exec:echo last; exit 1"), *test::in(20s), {children, {}}),
      [&](const std::exception_ptr&, std::string words) { reason = std::move(words); });
  io.run_one();
  siginfo_t info{};
  REQUIRE(::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0);
  children.reap();
  io.run();
  CHECK(reason == "exited with status 1: last");
}

TEST_CASE("children are reaped in one place") {
  asio::io_context io(1);
  Children children(io);
  std::vector<std::pair<pid_t, int>> others;
  children.on_other(
      [&](pid_t pid, os::ExitStatus status) { others.emplace_back(pid, status.shell_code()); });
  const auto child = [](int code) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(code);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
    return pid;
  };
  const pid_t other = child(3);
  Children::Child awaited(children, child(4));
  CHECK_FALSE(awaited.status());
  children.reap();
  REQUIRE(awaited.status());
  CHECK(awaited.status()->shell_code() == 4);
  CHECK(others == std::vector{std::pair(other, 3)});

  std::optional<os::ExitStatus> told;
  asio::co_spawn(
      io, awaited.ended(std::nullopt),
      [&](const std::exception_ptr&, std::optional<os::ExitStatus> status) { told = status; });
  io.run();
  CHECK((told && told->shell_code() == 4));

  const pid_t lost = [&] { return Children::Child(children, child(5)).pid(); }();
  children.reap();
  CHECK(others.back() == std::pair(lost, 5));
}
