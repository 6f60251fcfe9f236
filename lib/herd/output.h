// What a server writes to its standard output and error: passed on to ours, and its last lines
// kept, so that a reload that failed can say why.
#pragma once

#include <sys/types.h>

#include <array>
#include <asio/awaitable.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lib/herd/output_process.h"
#include "lib/herd/output_ring.h"
#include "lib/os/clock.h"
#include "lib/os/fd.h"
#include "lib/os/process.h"

namespace drover::herd {

/// Where the server's output stood at a moment. Holds the server's log files open: not for long.
struct OutputMark {
  struct Place {
    std::optional<size_t> ring;  ///< it goes through this stream of ours
    os::Fd file;                 ///< or into a file of the server's own
    uint64_t position = 0;
  };
  std::array<Place, kStreams> places;

  /// Whether nothing will be found out: all goes to /dev/null, a socket, somebody else's pipe.
  [[nodiscard]] bool nothing_to_be_had() const noexcept;
};

/// A pipe for each of the two streams, which a process of its own (drover-output) empties. The herd
/// may be killed at any instant, and so may that process, without harm to the server:
///
/// - The server's ends are open for reading *and* writing (opened anew through /proc; pipe(7)). So
/// a
///   pipe has a reader for as long as somebody can write to it: no SIGPIPE, no EPIPE.
/// - A pipe has room for 1 MiB where that is allowed (fcntl(2), F_SETPIPE_SZ). With nobody to empty
///   it, a server blocks only when that is full; the next herd finds it and empties it.
/// - drover-output ends at end of file: when the last process that has a server's end is gone.
///
/// Both streams have a pipe of their own also where ours are one and the same: between lines of an
/// access log the last words of a server that failed would be lost. Lines that are written to both
/// within the same instant may change places.
///
/// Not for several threads. No wake-up while nothing is written.
class Output {
 public:
  using Descriptors = std::array<int, kStreams>;

  /// Before the server is launched, and best before much memory is in use: the process is a fork.
  /// Throws Error.
  static Output start(Descriptors sinks = {1, 2});

  /// For a server that lives. Finds the pipes of an earlier herd by what the master has as its
  /// standard output and error; pipes that are not of our kind are left alone. A drover-output that
  /// still empties them is replaced by one that writes to `sinks`, as the old one's may lead
  /// nowhere; what it has kept is kept. Without such a pipe only the server's own files can be
  /// read. The caller has a pidfd of `master`. Blocks for a moment. Throws Error.
  static Output adopt(pid_t master, Descriptors sinks = {1, 2});

  /// The server's ends, close-on-exec: for descriptors 1 and 2 of the process that is launched.
  [[nodiscard]] Descriptors server_ends() const noexcept;
  /// After the launch, whether or not it succeeded: closes our copies of the server's ends. Without
  /// this drover-output never ends.
  void launched() noexcept;

  /// Where the output of `master` stands now; without one, what comes through the pipes.
  [[nodiscard]] OutputMark mark(pid_t master = 0) const;
  /// The last lines, at most `most` and 16 KiB, that were written since: to standard error or, when
  /// nothing was, to standard output. Bytes as they are, UTF-8 or not: whoever prints them makes
  /// them harmless.
  [[nodiscard]] std::vector<std::string> lines_since(const OutputMark& mark,
                                                     size_t most = 20) const;

  /// Whether all that was written before this call can be seen by lines_since.
  [[nodiscard]] bool caught_up() const noexcept;
  /// Until then, or the limit: a process may have died a moment before what it wrote is read.
  /// Looks every 20 ms.
  asio::awaitable<void> catch_up(std::chrono::milliseconds limit = std::chrono::milliseconds(200));

  /// The number of drover-output, a child of ours that the caller will reap; 0: there is none.
  [[nodiscard]] pid_t pid() const noexcept { return process_ ? process_->pid() : 0; }
  /// Starts drover-output anew if it was killed. False when it lives, or when its work is done.
  bool revive();
  /// When the server is gone: blocks until its last words are passed on and drover-output has
  /// ended. False at the deadline: somebody still has a server's end, or a sink does not take more.
  [[nodiscard]] bool finish(os::Deadline deadline);

 private:
  Output(Descriptors sinks, std::optional<OutputRing> ring);
  void make_pipe(size_t stream);
  void start_process();

  Descriptors sinks_;
  std::optional<OutputRing> ring_;
  std::array<os::Fd, kStreams> pipes_;  ///< for reading, though we only look how full they are
  std::array<os::Fd, kStreams> server_ends_;
  std::optional<os::Process> process_;
};

/// The last lines of a text, at most `most`; the last may lack its newline.
std::vector<std::string> last_lines(std::string_view text, size_t most);

}  // namespace drover::herd
