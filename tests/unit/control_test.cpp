// The control protocol, and what a server does with clients that keep to it and those that do not.
#include <fmt/core.h>
#include <sys/resource.h>

#include <future>

#include "lib/control/alarm.h"
#include "lib/control/client.h"
#include "lib/control/server.h"
#include "lib/os/error.h"
#include "tests/unit/control_support.h"

using namespace drover;
using namespace drover::control;
using namespace std::chrono_literals;
using test::Peer;
using test::Served;
using test::turn_until;

namespace {

const std::string kStatus = "{\"v\":1,\"command\":\"status\"}\n";

/// Answers with the request's command.
asio::awaitable<void> echo(Request request, Reply& reply) {
  reply.finish({{"ok", true}, {"command", request.command}});
  co_return;
}

std::string code_of(const std::vector<Json>& lines) {
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].at("v") == 1);
  CHECK(lines[0].at("ok") == false);
  CHECK_FALSE(lines[0].at("reason").get<std::string>().empty());
  return lines[0].at("code");
}

std::string nested(size_t depth) {
  std::string text = "{\"command\":\"status\",\"x\":";
  return text + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
}

std::string many_values(size_t count) {
  std::string text = "{\"command\":\"status\",\"x\":[0";
  for (size_t at = 1; at < count; ++at)
    text += ",0";
  return text + "]}";
}

const std::vector<std::string> kBadRequests = {
    "",
    "status",
    "[]",
    "\"status\"",
    "{",
    "{}",
    "{}{}",
    "{\"command\":\"status\"",
    "{\"command\":\"status\"} x",
    "{\"command\":\"status\"}" + std::string("\0", 1),
    "\xEF\xBB\xBF{\"command\":\"status\"}",
    "{\"command\":\"sta\xFFtus\"}",
    "{'command':'status'}",
    "{\"command\":\"status\"}//",
    "{\"command\":1}",
    "{\"command\":\"\"}",
    "{\"command\":null}",
    "{\"cmd\":\"status\"}",
    "{\"command\":\"status\",\"command\":\"stop\"}",
    "{\"command\":\"status\",\"x\":[{\"a\":1,\"a\":1}]}",
    "{\"command\":\"status\",\"x\":1e999}",
    "{\"command\":\"status\",\"v\":2}",
    "{\"command\":\"status\",\"v\":\"1\"}",
    "{\"command\":\"status\",\"v\":true}",
    nested(17),
    nested(10000),
    many_values(2000),
};

}  // namespace

TEST_CASE("a request is read strictly") {
  CHECK(parse_request("{\"v\":1,\"command\":\"status\"}").command == "status");
  CHECK(parse_request(" {\"command\":\"stop\",\"x\":{\"a\":1},\"y\":{\"a\":1}}\r").command ==
        "stop");
  CHECK(parse_request(nested(16)).command == "status");
  CHECK(parse_request(many_values(900)).command == "status");
  for (const std::string& line : kBadRequests) {
    INFO(line.substr(0, 200));
    CHECK_THROWS_AS(parse_request(line), Refused);
  }
}

TEST_CASE("the members of a request have their types") {
  const Request request = parse_request(
      "{\"command\":\"why\",\"name\":\"a\",\"n\":7,\"minus\":-1,\"half\":1.5,\"yes\":true,"
      "\"none\":null,\"empty\":\"\"}");
  CHECK(request.text("name") == "a");
  CHECK(request.required_text("name") == "a");
  CHECK(request.number("n") == 7U);
  CHECK(request.flag("yes"));
  for (const char* absent : {"none", "other"}) {
    CHECK_FALSE(request.text(absent));
    CHECK_FALSE(request.number(absent));
    CHECK_FALSE(request.flag(absent));
    CHECK_THROWS_AS(request.required_text(absent), Refused);
  }
  for (const char* name : {"n", "minus", "half", "yes", "empty"})
    CHECK_THROWS_AS(request.text(name), Refused);
  for (const char* name : {"name", "minus", "half", "yes", "empty"})
    CHECK_THROWS_AS(request.number(name), Refused);
  for (const char* name : {"name", "n", "empty"})
    CHECK_THROWS_AS(request.flag(name), Refused);
  CHECK(unknown_command(request).code() == "usage");
}

TEST_CASE("an object is one line with the version first") {
  CHECK(as_line({{"ok", true}, {"v", 1}}) == "{\"v\":1,\"ok\":true}\n");
  CHECK(as_line({{"text", "a\nb\xFF"}}) == "{\"v\":1,\"text\":\"a\\nb\xEF\xBF\xBD\"}\n");
}

TEST_CASE("events come before the answer, and only one answer") {
  Served served([](Request request, Reply& reply) -> asio::awaitable<void> {
    reply.event({{"event", "step"}, {"name", "ask"}});
    reply.event({{"event", "step"}, {"name", "seen"}});
    reply.finish({{"ok", true}, {"command", request.command}});
    reply.event({{"event", "step"}, {"name", "late"}});
    reply.finish({{"ok", false}});
    co_return;
  });
  const auto lines = served.ask(kStatus);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0] == Json({{"v", 1}, {"event", "step"}, {"name", "ask"}}));
  CHECK(lines[1].at("name") == "seen");
  CHECK(lines[2] == Json({{"v", 1}, {"ok", true}, {"command", "status"}}));
  CHECK(served.server->clients() == 0);
}

TEST_CASE("what is no request is answered once, and nothing happens") {
  size_t calls = 0;
  Served served([&](Request request, Reply&) -> asio::awaitable<void> {
    ++calls;
    throw unknown_command(request);
    co_return;
  });
  for (const std::string& line : kBadRequests) {
    INFO(line.substr(0, 200));
    CHECK(code_of(served.ask(line + "\n")) == "usage");
  }
  CHECK(calls == 0);
  CHECK(code_of(served.ask(kStatus)) == "usage");
  CHECK(calls == 1);
  CHECK(served.warnings.empty());
}

TEST_CASE("a line has a length and an end") {
  Served served(echo, {.line = 100});
  const auto of_length = [](size_t length) {
    return fmt::format("{{\"command\":\"{}\"}}\n", std::string(length - 14, 'a'));
  };
  CHECK(of_length(100).size() == 101);
  CHECK(served.ask(of_length(100)).at(0).at("ok") == true);
  CHECK(code_of(served.ask(of_length(101))) == "too_long");
  CHECK(code_of(served.ask(std::string(5000, 'x'))) == "too_long");
  Peer peer(served.path);
  peer.say("{\"command\":\"status\"}");
  peer.half_close();
  CHECK(code_of(peer.all(served.io)) == "usage");
}

TEST_CASE("a request may come in pieces, and its sender may close that side") {
  Served served(echo);
  Peer peer(served.path);
  for (const char letter : kStatus) {
    peer.say({letter});
    served.io.poll();
  }
  peer.half_close();
  CHECK(peer.all(served.io).at(0).at("command") == "status");
}

TEST_CASE("a silent client is closed, and so is one that takes too long") {
  Served served(echo, {.patience = 30ms});
  Peer silent(served.path);
  CHECK(code_of(silent.all(served.io)) == "late");
  Peer slow(served.path);
  const auto all_of_it = [&] {
    if (served.server->clients() == 1) slow.say(" ");  // no single piece is late
    return !slow.hear() || slow.heard().find("late") != std::string::npos;
  };
  REQUIRE(turn_until(served.io, [&] { return served.server->clients() == 1; }));
  CHECK(turn_until(served.io, all_of_it));
  CHECK(turn_until(served.io, [&] { return served.server->clients() == 0; }));
  CHECK(served.ask(kStatus).size() == 1);
}

TEST_CASE("a client that leaves without a word harms nobody") {
  Served served(echo);
  for (int round = 0; round < 3; ++round) {
    Peer peer(served.path);
    if (round == 1) peer.say("{");
    if (round == 2) peer.say(kStatus);
  }
  CHECK(served.ask(kStatus).size() == 1);
  CHECK(turn_until(served.io, [&] { return served.server->clients() == 0; }));
  CHECK(served.warnings.empty());
}

TEST_CASE("an idle server does nothing") {
  Served served(echo);
  CHECK(served.ask(kStatus).size() == 1);
  served.io.poll();
  CHECK(served.io.run_for(50ms) == 0);
}

TEST_CASE("connections are bounded") {
  Served served(echo, {.connections = 2});
  Peer first(served.path);
  Peer second(served.path);
  REQUIRE(turn_until(served.io, [&] { return served.server->clients() == 2; }));
  CHECK(code_of(Peer(served.path).all(served.io)) == "busy");
  first.hang_up();
  REQUIRE(turn_until(served.io, [&] { return served.server->clients() == 1; }));
  CHECK(served.ask(kStatus).at(0).at("ok") == true);
}

TEST_CASE("other users are not heard") {
  if (::geteuid() != 0) return;
  Served served(echo);
  std::filesystem::permissions(served.folder / "", std::filesystem::perms(0755));
  std::filesystem::permissions(served.path, std::filesystem::perms(0666));
  os::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const test::Child stranger([&] {  // whoever connects is the peer, whoever speaks then
    const Address address(served.path);
    if (::setresuid(65534, 65534, 65534) == 0)
      (void)!::connect(socket.get(), address.get(), address.size());
  });
  Peer peer(std::move(socket));
  peer.say(kStatus);
  CHECK(code_of(peer.all(served.io)) == "not_allowed");
  CHECK(served.ask(kStatus).at(0).at("ok") == true);
}

TEST_CASE("what a handler throws is the answer") {
  Served served([](Request request, Reply& reply) -> asio::awaitable<void> {
    if (request.command == "refuse") throw Refused("busy", "not now");
    if (request.command == "fail") throw Error(ENOENT, "open", "x");
    if (request.command == "break") throw std::runtime_error("oh");
    if (request.command == "late") {
      reply.finish({{"ok", true}});
      throw std::runtime_error("too late");
    }
    co_return;
  });
  const auto ask = [&](const std::string& command) {
    return served.ask(fmt::format("{{\"command\":\"{}\"}}\n", command));
  };
  CHECK(code_of(ask("refuse")) == "busy");
  const auto failed = ask("fail");
  CHECK(code_of(failed) == "failed");
  CHECK(failed[0].at("reason") == "cannot open 'x': No such file or directory");
  CHECK(served.warnings.empty());
  CHECK(code_of(ask("break")) == "internal");
  CHECK(code_of(ask("forget")) == "internal");
  CHECK(served.warnings.size() == 2);
  CHECK(ask("late").at(0).at("ok") == true);
  CHECK(served.warnings.size() == 3);
}

TEST_CASE("a handler learns that its client has gone, and goes on") {
  bool slept = false;
  Served served([&](Request, Reply& reply) -> asio::awaitable<void> {
    reply.event({{"event", "begun"}});
    co_await reply.sleep();
    slept = reply.gone();
    reply.event({{"event", "more"}});
    reply.finish({{"ok", true}});
  });
  Peer peer(served.path);
  peer.say(kStatus);
  CHECK(peer.some(served.io, 1).size() == 1);
  peer.half_close();
  served.io.run_for(20ms);
  CHECK(served.server->clients() == 1);
  peer.hang_up();
  CHECK(turn_until(served.io, [&] { return served.server->clients() == 0; }));
  CHECK(slept);
}

TEST_CASE("a handler that was woken before it slept does not sleep") {
  Served served([&](Request, Reply& reply) -> asio::awaitable<void> {
    reply.wake();
    co_await reply.sleep();
    reply.finish({{"ok", !reply.gone()}});
  });
  CHECK(served.ask(kStatus).at(0).at("ok") == true);
}

TEST_CASE("a client that does not read is cut off, its request goes on") {
  bool ended = false;
  size_t said = 0;
  Served served(
      [&](Request, Reply& reply) -> asio::awaitable<void> {
        for (; !reply.gone() && said < 5000; ++said)
          reply.event({{"event", "x"}, {"text", std::string(1000, 'x')}});
        reply.finish({{"ok", true}});
        ended = true;
        co_return;
      },
      {.unsent = 100'000});
  Peer peer(served.path);
  peer.say(kStatus);
  CHECK(turn_until(served.io, [&] { return ended; }));
  CHECK(said >= 100);
  CHECK(said < 5000);
  CHECK(turn_until(served.io, [&] { return served.server->clients() == 0; }));
}

TEST_CASE("a large answer reaches a client that reads, and is not kept for one that does not") {
  Served served(
      [&](Request, Reply& reply) -> asio::awaitable<void> {
        reply.finish({{"ok", true}, {"text", std::string(900'000, 'x')}});
        co_return;
      },
      {.patience = 200ms});
  CHECK(served.ask(kStatus).at(0).at("text").get<std::string>().size() == 900'000);
  Peer peer(served.path);
  peer.say(kStatus);
  REQUIRE(turn_until(served.io, [&] { return served.server->clients() == 1; }));
  CHECK(turn_until(served.io, [&] { return served.server->clients() == 0; }));
}

TEST_CASE("no descriptor left is said once and tried again, without spinning") {
#ifdef DROVER_SANITIZED
  return;  // the sanitizer needs descriptors of its own
#endif
  Served served(echo, {.pause = 10ms});
  Peer peer(served.path);
  peer.say(kStatus);
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const rlimit none{3, limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const size_t turns = served.io.run_for(100ms);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  CHECK(turns >= 3);
  CHECK(turns <= 11);
  REQUIRE(served.warnings.size() == 1);
  CHECK(served.warnings[0].find("Too many open files") != std::string::npos);
  CHECK(peer.all(served.io).at(0).at("ok") == true);
  CHECK(served.warnings.size() == 1);
}

TEST_CASE("an alarm calls once, unless it was cancelled or has gone") {
  asio::io_context io(1);
  std::string called;
  Alarm alarm(io);
  {
    Alarm gone(io);
    gone.set(0ns, [&] { called += "gone"; });
  }
  alarm.set(0ns, [&] { called += "old"; });
  alarm.set(1ms, [&] {
    called += "new";
    alarm.set(1ms, [&] { called += "again"; });
  });
  CHECK(turn_until(io, [&] { return called == "newagain"; }));
  alarm.set(0ns, [&] { called += "cancelled"; });
  alarm.cancel();
  io.restart();
  io.run_for(20ms);
  CHECK(called == "newagain");
}

/// How many timers of this process are still running.
size_t running_timers() {
  size_t running = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    const std::string info = test::read_file(entry.path().string());
    if (info.find("it_value:") != std::string::npos &&
        info.find("it_value: (0, 0)") == std::string::npos)
      ++running;
  }
  return running;
}

TEST_CASE("no timer runs but while a request is awaited") {
  Served served([](Request, Reply& reply) -> asio::awaitable<void> {
    reply.event({{"event", "begun"}});
    co_await reply.sleep();
    reply.finish({{"ok", true}});
  });
  CHECK(running_timers() == 0);
  Peer peer(served.path);
  REQUIRE(turn_until(served.io, [&] { return served.server->clients() == 1; }));
  served.io.poll();
  CHECK(running_timers() == 1);
  peer.say(kStatus);
  CHECK(peer.some(served.io, 1).size() == 1);
  CHECK(running_timers() == 0);
  peer.hang_up();
  REQUIRE(turn_until(served.io, [&] { return served.server->clients() == 0; }));
  const Peer silent(served.path);
  CHECK(turn_until(served.io, [&] { return served.server->clients() == 1; }));
}

TEST_CASE("a closed server answers those who are connected") {
  std::vector<Reply*> waiting;
  Served served([&](Request, Reply& reply) -> asio::awaitable<void> {
    waiting.push_back(&reply);
    co_await reply.sleep();
    reply.finish({{"ok", true}});
  });
  Peer peer(served.path);
  peer.say(kStatus);
  REQUIRE(turn_until(served.io, [&] { return !waiting.empty(); }));
  served.server->close();
  CHECK_FALSE(os::file_at(served.path));
  served.io.poll();
  waiting[0]->wake();
  CHECK(peer.all(served.io).at(0).at("ok") == true);
}

TEST_CASE("a server that ends cuts its clients off, their requests go on") {
  bool ended = false;
  Served served([&](Request, Reply& reply) -> asio::awaitable<void> {
    reply.event({{"event", "begun"}});
    co_await reply.sleep();
    ended = true;
  });
  Peer peer(served.path);
  peer.say(kStatus);
  CHECK(peer.some(served.io, 1).size() == 1);
  served.server.reset();
  CHECK(peer.all(served.io).size() == 1);
  CHECK(turn_until(served.io, [&] { return ended; }));
}

TEST_CASE("a server and its loop may end while a client is served") {
  Served served([](Request, Reply& reply) -> asio::awaitable<void> {
    reply.event({{"event", "begun"}});
    co_await reply.sleep();
  });
  Peer peer(served.path);
  peer.say(kStatus);
  CHECK(peer.some(served.io, 1).size() == 1);
  const Peer silent(served.path);
  served.io.poll();
}

TEST_CASE("the blocking client asks and hears") {
  Served served([](Request request, Reply& reply) -> asio::awaitable<void> {
    reply.event({{"event", "step"}});
    reply.finish({{"ok", true}, {"name", request.required_text("name")}});
    co_return;
  });
  auto answer = std::async(std::launch::async, [&] {
    Client client(served.path, test::in(20s));
    client.send({{"command", "start"}, {"name", "a"}}, test::in(20s));
    std::vector<Client::Line> lines;
    do {
      lines.push_back(client.next(test::in(20s)));
    } while (lines.back().got == Client::Got::line);
    return lines;
  });
  REQUIRE(turn_until(served.io, [&] { return answer.wait_for(0s) == std::future_status::ready; }));
  const auto lines = answer.get();
  REQUIRE(lines.size() == 3);
  CHECK_FALSE(lines[0].final());
  CHECK(lines[1].final());
  CHECK(lines[1].object.at("name") == "a");
  CHECK(lines[2].got == Client::Got::end);
}

TEST_CASE("the blocking client keeps its deadline") {
  Served served(echo);  // whose loop does not turn
  Client client(served.path);
  client.send({{"command", "status"}});
  CHECK(client.next(test::in(20ms)).got == Client::Got::nothing);
}
