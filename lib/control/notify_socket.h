// The notify socket that a managed process gets in place of the supervisor's: what a server says of
// itself (STOPPING=1 of an old master, MAINPID of a new one) is news for its manager alone.
#pragma once

#include <sys/types.h>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/os/fd.h"

namespace drover::control {

using NotifyFields = std::map<std::string, std::string, std::less<>>;

struct NotifyMessage {
  pid_t pid = 0;  ///< who sent it, by the kernel's word; it may have ended since
  uid_t uid = 0;
  NotifyFields fields;

  /// Whether it holds this assignment, such as READY=1.
  [[nodiscard]] bool says(std::string_view name, std::string_view value) const {
    const auto field = fields.find(name);
    return field != fields.end() && field->second == value;
  }
};

/// Reads the lines "NAME=VALUE" of a message; lines that are none are left out, of two with one
/// name the first counts. Empty when it is no message: it holds a NUL before its end, or no
/// assignment.
std::optional<NotifyFields> parse_notify(std::string_view text);

/// Not for several threads. No wake-up while nobody speaks.
class NotifySocket {
 public:
  using OnMessage = std::function<void(const NotifyMessage&)>;
  using Warning = std::function<void(const std::string&)>;

  /// Binds a datagram socket at `path`; without one, at an abstract name that the kernel chooses
  /// (unix(7), autobind). A path is to be the same for every manager of a service: the server keeps
  /// the name in its environment, and a manager that was started anew is reached by it again. A
  /// socket that nobody reads is replaced; the caller sees to it that there is one manager
  /// only. Its mode is 0777, as a server may have dropped its privileges before it speaks (the
  /// folder must let it in): anybody may write, so `on_message` decides by pid whom to believe.
  ///
  /// With a path the process's umask is 0 for the moment of the bind. Throws Error: EADDRINUSE when
  /// another process reads there, EEXIST when there is something that is no socket, ENAMETOOLONG.
  ///
  /// `on_message` is called from the loop, for each message of at most 4096 bytes; it must not
  /// destroy this object. What is longer or malformed is ignored, which is said once. Descriptors
  /// that are passed along never arrive: the kernel closes them when the message is read, which is
  /// all that BARRIER=1 asks for, and nobody can fill our table with them.
  NotifySocket(asio::io_context& io, const std::string& path, OnMessage on_message,
               Warning warning);
  /// Removes the socket's file, if it is still this one.
  ~NotifySocket();
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  /// What NOTIFY_SOCKET is to be: an absolute path, or "@" and an abstract name.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  void wait();
  void read_some();
  bool read_one();
  void ignored(pid_t pid, std::string_view why);

  OnMessage on_message_;
  Warning warning_;
  bool warned_ = false;
  asio::posix::stream_descriptor socket_;
  const std::string name_;
  std::optional<os::FileId> file_;
};

}  // namespace drover::control
