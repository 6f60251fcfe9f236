// Into the background, and yet whoever started the server learns whether it came up.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lib/os/fd.h"

namespace drover::prefork {

/// The daemon's side of the pipe on which its launcher waits; without a launcher it does nothing.
/// A daemon that dies without a word closes the pipe, and that is an answer, too.
class Launcher {
 public:
  Launcher() = default;
  explicit Launcher(os::Fd pipe) : pipe_(std::move(pipe)) {}

  void succeeded();
  /// The launcher hears it when this process has ended, and has put away its pidfile.
  void failed(std::string_view message);
  /// For a child that has nothing to say to the launcher.
  void forget() { pipe_.reset(); }

 private:
  void tell(std::string_view text) const;

  os::Fd pipe_;
};

/// Goes on in the background: a child in a session of its own, standard input and output (and,
/// until there is a log, standard error) at /dev/null. Returns there. The process that called it
/// stays in the foreground until the daemon has spoken: there the answer is empty when the daemon
/// serves, and Error is thrown when it has failed.
std::optional<Launcher> daemonize();

}  // namespace drover::prefork
