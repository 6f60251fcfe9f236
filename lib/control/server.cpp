#include "lib/control/server.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <optional>
#include <set>
#include <system_error>

#include "lib/control/socket_file.h"
#include "lib/os/error.h"

namespace drover::control {
namespace {

/// The user that the process at the other end had when it connected.
bool may_speak(int socket) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace

void Reply::line(std::string_view text) {
  if (!finished_) connection_.write(text);
}

void Reply::event(const Json& object) {
  if (!gone()) line(as_line(object));
}

void Reply::finish(const Json& object) {
  event(object);
  finished_ = true;
}

/// What a client's coroutine needs, which may be there longer than the Server.
struct Server::State : std::enable_shared_from_this<State> {
  State(asio::io_context& loop, const std::string& path, Handler handle, Warning warn,
        const Limits& bounds, const Dialect& spoken)
      : io(loop),
        handler(std::move(handle)),
        warning(std::move(warn)),
        limits(bounds),
        dialect(spoken),
        file(std::in_place, path),
        acceptor(loop, file->fd()),
        name(file->path()),
        pause(loop) {}

  ~State() { close(); }

  void close() {
    if (!file) return;
    acceptor.release();
    pause.cancel();
    file.reset();
  }

  void accept_next();
  void accept_one();
  void take_in(os::Fd client);
  void turn_away(int socket, std::string_view code, std::string_view reason) const;
  static asio::awaitable<void> serve(std::shared_ptr<State> self,
                                     std::shared_ptr<Connection> client);
  asio::awaitable<bool> answer(Connection& client);

  asio::io_context& io;
  Handler handler;
  Warning warning;
  Limits limits;
  Dialect dialect;
  std::optional<SocketFile> file;  ///< empty once nobody is heard any more
  asio::posix::stream_descriptor acceptor;
  std::string name;
  Alarm pause;  ///< made beforehand: when it is needed, there may be no descriptor left
  bool short_of_descriptors = false;
  std::set<std::shared_ptr<Connection>> clients;
};

void Server::State::accept_next() {
  // The listening socket stays readable as long as the client waits: looking at once would spin.
  if (short_of_descriptors) {
    pause.set(limits.pause, [this] { accept_one(); });
    return;
  }
  acceptor.async_wait(asio::posix::stream_descriptor::wait_read,
                      [weak = weak_from_this()](asio::error_code error) {
                        const auto self = weak.lock();
                        if (!error && self && self->file) self->accept_one();
                      });
}

void Server::State::accept_one() {
  os::Fd client(::accept4(file->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  const int failed = client ? 0 : errno;
  const bool for_now = failed == 0 || failed == EAGAIN || failed == EINTR || failed == ECONNABORTED;
  if (!for_now && !short_of_descriptors)
    warning(fmt::format("cannot hear who asks at '{}': {}; trying again", name,
                        std::generic_category().message(failed)));
  short_of_descriptors = !for_now;
  if (client && !may_speak(client.get())) {
    turn_away(client.get(), "not_allowed", "only root and the server's own user may ask");
  } else if (client && clients.size() >= limits.connections) {
    turn_away(client.get(), "busy", fmt::format("{} clients are connected", clients.size()));
  } else if (client) {
    take_in(std::move(client));
  }
  accept_next();
}

void Server::State::take_in(os::Fd client) {
  std::shared_ptr<Connection> connection;
  try {
    connection = std::make_shared<Connection>(io, std::move(client), limits);
  } catch (const Error& error) {
    turn_away(client.get(), "busy", error.what());
    return;
  }
  clients.insert(connection);
  asio::co_spawn(io, serve(shared_from_this(), std::move(connection)), asio::detached);
}

void Server::State::turn_away(int socket, std::string_view code, std::string_view reason) const {
  const std::string line = as_line(dialect.refusal(code, reason));
  (void)!::send(socket, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

asio::awaitable<void> Server::State::serve(std::shared_ptr<State> self,
                                           std::shared_ptr<Connection> client) {
  bool goes_on = true;
  while (goes_on && !client->gone()) {
    goes_on = co_await self->answer(*client);
    co_await client->sent_in_time();
  }
  client->close();
  self->clients.erase(client);
}

/// Whether the client may ask again.
asio::awaitable<bool> Server::State::answer(Connection& client) {
  Reply reply(client);
  const auto fail = [&](const char* what) {
    warning(fmt::format("cannot answer a request at '{}': {}", name, what));
    reply.finish(dialect.refusal("internal", what));
  };
  bool has_asked = false;
  try {
    const std::string line = co_await client.read_line();
    if (client.gone()) co_return false;
    has_asked = true;
    if (!limits.one_request && line.find_first_not_of(" \t\r") == std::string::npos) co_return true;
    co_await handler(dialect.parse(line), reply);
    if (!reply.finished()) fail("the handler gave no answer");
  } catch (const Refused& refused) {
    // Whoever has had its answers is told nothing that it could take for another one.
    if (!has_asked && !limits.one_request && refused.code() == "late") co_return false;
    reply.finish(dialect.refusal(refused.code(), refused.what()));
  } catch (const Error& error) {
    reply.finish(dialect.refusal("failed", error.what()));
  } catch (const std::exception& error) {
    fail(error.what());
  }
  co_return has_asked && !limits.one_request;
}

Server::Server(asio::io_context& io, const std::string& path, Handler handler, Warning warning,
               Limits limits, Dialect dialect)
    : state_(std::make_shared<State>(io, path, std::move(handler), std::move(warning), limits,
                                     dialect)) {
  state_->accept_next();
}

Server::~Server() {
  close();
  for (const auto& client : state_->clients)
    client->close();
}

void Server::close() { state_->close(); }
const std::string& Server::path() const { return state_->name; }
size_t Server::clients() const { return state_->clients.size(); }

}  // namespace drover::control
