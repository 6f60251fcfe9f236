// One client: requests in, answers out, and an end at which nothing gets lost.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "examples/prefork/request.h"
#include "examples/prefork/settings.h"
#include "lib/os/fd.h"

namespace drover::prefork {

class Connection {
 public:
  /// `socket` is non-blocking.
  explicit Connection(os::Fd socket) : socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  /// Whether a part of the next request has been read already.
  [[nodiscard]] bool has_more() const noexcept { return !received_.empty(); }

  /// Reads a request and its body, of which only the size matters here. Empty when the client has
  /// gone. Throws Refused, with 408 at the deadline.
  std::optional<Request> read_request(Clock::time_point deadline);
  /// False when the client has gone or took no data until the deadline.
  bool write(std::string_view text, Clock::time_point deadline);
  /// Ends the connection so that the client can read all that was written: says that no more comes,
  /// then takes in what the client still sends until it closes as well, or until the deadline.
  void finish(Clock::time_point deadline);

 private:
  enum class Got { data, end, late };
  Got receive(Clock::time_point deadline);
  bool read_head(std::string& head, Clock::time_point deadline);
  bool read_body(const Request& request, Clock::time_point deadline);

  os::Fd socket_;
  std::string received_;  ///< not used up yet; a client may send its next request early
};

}  // namespace drover::prefork
