// The other side: asks a server, and blocks for its answer.
#pragma once

#include <string>

#include "lib/control/protocol.h"
#include "lib/os/clock.h"
#include "lib/os/fd.h"

namespace drover::control {

/// A connection for one request. Not for several threads; no SIGPIPE; signals do not end a call.
class Client {
 public:
  /// What came next: a line, the end of the connection, or nothing until the deadline.
  enum class Got { line, end, nothing };
  struct Line {
    Got got = Got::nothing;
    Json object = nullptr;  ///< with Got::line
    /// Whether it is the answer's last.
    [[nodiscard]] bool final() const { return object.is_object() && object.contains("ok"); }
  };

  /// Connects to the server at `path`. Blocks while more clients wait than its kernel queues, at
  /// most until `deadline` (ETIMEDOUT). Throws Error: ECONNREFUSED when nobody is there, with or
  /// without a file; EACCES.
  explicit Client(const std::string& path, os::Deadline deadline = {});

  /// Sends {"v":1,...}. A server that does not take it has said why: see next(). Throws Error, also
  /// ETIMEDOUT.
  void send(const Json& request, os::Deadline deadline = {});

  /// The next line that is not empty. Throws Error: EBADMSG when it is no object or longer than
  /// 16 MiB.
  Line next(os::Deadline deadline = {});

 private:
  /// False at the deadline.
  [[nodiscard]] bool ready(short events, os::Deadline deadline) const;
  [[nodiscard]] Line parse(std::string_view text) const;

  std::string path_;
  os::Fd socket_;
  std::string read_;     ///< of lines that are not yet given out
  size_t searched_ = 0;  ///< how much of it has no end of a line
};

}  // namespace drover::control
