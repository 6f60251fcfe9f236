// A server in the test's own event loop, and clients that speak to it byte by byte.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "lib/control/address.h"
#include "lib/control/server.h"
#include "lib/os/fd.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

namespace drover::test {

constexpr auto kLong = std::chrono::seconds(20);

/// Turns the loop until the condition is true; false after a long time.
inline bool turn_until(asio::io_context& io, const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kLong;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    io.restart();
    io.run_one_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// A client of the same thread: reads only while the loop turns.
class Peer {
 public:
  explicit Peer(const std::string& path)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const control::Address address(path);
    REQUIRE(::connect(socket_.get(), address.get(), address.size()) == 0);
  }
  explicit Peer(os::Fd connected) : socket_(std::move(connected)) {}

  void say(const std::string& text) const {
    REQUIRE(::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
            static_cast<ssize_t>(text.size()));
  }
  void half_close() const { ::shutdown(socket_.get(), SHUT_WR); }
  void hang_up() { socket_.reset(); }

  /// What has come so far. False once the server has closed.
  bool hear() {
    char piece[4096];
    for (;;) {
      const ssize_t size = ::recv(socket_.get(), piece, sizeof piece, MSG_DONTWAIT);
      if (size < 0 && errno == EAGAIN) return true;
      if (size <= 0) return false;
      heard_.append(piece, static_cast<size_t>(size));
    }
  }
  /// All lines until the server closes.
  std::vector<control::Json> all(asio::io_context& io) {
    REQUIRE(turn_until(io, [this] { return !hear(); }));
    return lines();
  }
  /// At least so many lines.
  std::vector<control::Json> some(asio::io_context& io, size_t count) {
    REQUIRE(turn_until(io, [&] { return !hear() || lines().size() >= count; }));
    return lines();
  }
  [[nodiscard]] const std::string& heard() const { return heard_; }

 private:
  [[nodiscard]] std::vector<control::Json> lines() const {
    std::vector<control::Json> found;
    std::istringstream text(heard_);
    for (std::string line; std::getline(text, line);)
      if (!text.eof()) found.push_back(control::parse_object(line, control::kAnswerBounds));
    return found;
  }

  os::Fd socket_;
  std::string heard_;
};

/// A server whose handler a test can replace.
struct Served {
  explicit Served(control::Handler how, control::Limits limits = {})
      : server(std::make_unique<control::Server>(
            io, path, std::move(how), [this](const std::string& text) { warnings.push_back(text); },
            limits)) {}

  /// The answer to one line.
  std::vector<control::Json> ask(const std::string& line) {
    Peer peer(path);
    peer.say(line);
    return peer.all(io);
  }

  Folder folder;
  std::string path = folder / "app.pid.sock";
  asio::io_context io{1};
  std::vector<std::string> warnings;
  std::unique_ptr<control::Server> server;
};

}  // namespace drover::test
