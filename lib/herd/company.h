// The background processes that live beside a server, in the herd's own process. Who keeps them is
// not the herd's business: it tells when to begin and to end, and passes requests on.
#pragma once

#include <sys/types.h>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "lib/control/server.h"
#include "lib/os/process.h"

namespace drover::herd {

/// Not for several threads. No call blocks.
class Company {
 public:
  Company() = default;
  Company(const Company&) = delete;
  Company& operator=(const Company&) = delete;
  virtual ~Company() = default;

  /// The server serves.
  virtual void begin() = 0;
  /// A reload of the server is done.
  virtual void server_reloaded() = 0;
  /// Throws Error.
  virtual void reopen_logs() = 0;
  /// To be called until ended(), also when begin() was not.
  virtual void stop() = 0;
  [[nodiscard]] virtual bool ended() const = 0;

  /// Told of every child that was reaped and that the herd does not know.
  virtual void reaped(pid_t pid, os::ExitStatus status) = 0;
  /// Whether this child is one of them, and none of the server's.
  [[nodiscard]] virtual bool has(pid_t child) const = 0;

  /// How its requests are read.
  [[nodiscard]] virtual control::Limits limits() const = 0;
  [[nodiscard]] virtual control::Dialect dialect() const = 0;
  /// Whether the request is about them, rather than about the server.
  [[nodiscard]] virtual bool takes(const control::Request& request) const = 0;
  /// Carries it out: see control::Handler.
  virtual asio::awaitable<void> answer(control::Request request, control::Reply& reply) = 0;
  /// An entry for each, for the herd's own status.
  [[nodiscard]] virtual control::Json status() const = 0;
};

/// Makes it; `happened` is to be told, in words, of what those who follow the events are told.
/// Empty for no company. Throws Error.
using MakeCompany = std::function<std::unique_ptr<Company>(
    asio::io_context& io, std::function<void(const std::string&)> happened)>;

}  // namespace drover::herd
