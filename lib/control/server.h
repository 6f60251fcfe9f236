// A server on a UNIX socket file: each client that connects makes a request and gets an answer; one
// after the other where Limits::one_request says so.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "lib/control/connection.h"
#include "lib/control/protocol.h"

namespace drover::control {

/// With it a handler answers its request. A client that has gone away changes nothing for the
/// handler: what is said to it is dropped. No call blocks or throws.
class Reply {
 public:
  explicit Reply(Connection& connection) : connection_(connection) {}
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;

  /// A line on the way, {"v":1,"event":...}. A client that leaves more than Limits::unsent unread
  /// is cut off. Nothing after finish().
  void event(const Json& object);
  /// The last line; `object` has an "ok". Only the first call counts.
  void finish(const Json& object);
  [[nodiscard]] bool finished() const noexcept { return finished_; }
  /// Whether the client is known to have gone; sleep() and sent() find out, and so does event().
  [[nodiscard]] bool gone() const noexcept { return connection_.gone(); }

  /// Until the client has room for more, or is gone: for a handler that goes by the client's pace.
  asio::awaitable<void> sent() { return connection_.sent(); }
  /// Until wake(), or the client is gone. A wake() that came before counts.
  asio::awaitable<void> sleep() { return connection_.sleep(); }
  void wake() { connection_.wake(); }

 private:
  friend class Events;
  void line(std::string_view text);

  Connection& connection_;
  bool finished_ = false;
};

/// Carries one request out: a coroutine on the server's io_context, beside those of other clients.
/// The Reply lives as long as it does. What it throws before finish() is the answer: Refused and
/// drover::Error with their reason; anything else is "internal", and a warning. A handler that ends
/// without finish() is "internal", too. It goes on when the client, or the server, goes away.
using Handler = std::function<asio::awaitable<void>(Request, Reply&)>;
/// Gets a line without the program's name.
using Warning = std::function<void(const std::string&)>;

/// How requests are read and refused.
struct Dialect {
  /// Throws Refused.
  Request (*parse)(std::string_view line) = parse_request;
  Json (*refusal)(std::string_view code, std::string_view reason) = control::refusal;
};

/// Not for several threads. No wake-up while nobody is connected; but it tries again while a client
/// waits and no descriptor is left for it (Limits::pause).
///
/// Only root and the user that the server runs as are heard (SO_PEERCRED, as of connect(2)).
/// Everything that a client may do is bounded by Limits; what breaks them is answered in one line,
/// and nothing happens. No SIGPIPE.
class Server {
 public:
  /// Makes the socket file, see SocketFile. Throws Error.
  Server(asio::io_context& io, const std::string& path, Handler handler, Warning warning,
         Limits limits = {}, Dialect dialect = {});
  /// As close(), and cuts off all clients: what Reply::finish() was given before has been sent as
  /// far as the kernel took it.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Removes the socket file and hears nobody any more; those that are connected get their answers.
  void close();
  /// Absolute.
  [[nodiscard]] const std::string& path() const;
  /// How many clients are connected.
  [[nodiscard]] size_t clients() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace drover::control
