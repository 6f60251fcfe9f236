// The server of a check-up: started, looked at, reloaded, ended. Nothing of it is left.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/herd/checkup.h"
#include "lib/herd/output.h"
#include "lib/herd/reload.h"
#include "lib/herd/scratch_locks.h"
#include "lib/herd/service.h"
#include "lib/os/children.h"
#include "lib/os/fd.h"

namespace drover::herd {

/// A folder below the one for temporary files, with all that is in it removed at the end.
class ScratchFolder {
 public:
  /// Throws Error.
  explicit ScratchFolder(const std::string& above);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

class ScratchRun {
 public:
  /// How a start went.
  enum class Start {
    serves,
    failed,      ///< it ended, or its master did
    no_pidfile,  ///< it serves, but the pidfile names no master
    late,        ///< neither, at the limit
    stopped,     ///< `stopping` said so
  };

  ScratchRun(asio::io_context& io, os::Children& children, const CheckupRequest& request,
             const std::string& folder, ScratchLocks& locks, std::function<bool()> stopping);

  /// Throws os::ExecError, Error.
  void launch(const std::vector<std::string>& command, const std::string& start_folder,
              const std::optional<std::string>& pwd);
  asio::awaitable<Start> started();
  asio::awaitable<ReloadReport> reloaded(std::function<void(const Step&)> on_step);
  /// One worker more, and one less again.
  asio::awaitable<void> forked_once_more();
  struct Ending {
    size_t processes = 0;
    int number = 0;                     ///< the signal that it was asked to stop by
    std::vector<std::string> outlived;  ///< those that did not obey in time: "812 (sidekiq)"
  };
  /// In a hurry for one that does not serve: no request is waited for.
  asio::awaitable<Ending> ended(bool in_a_hurry);

  [[nodiscard]] Service& service() noexcept { return service_; }
  [[nodiscard]] Master master() { return service_.current(); }
  [[nodiscard]] std::vector<pid_t> workers();
  /// Whether the command itself is the master: it has not become a daemon.
  [[nodiscard]] bool in_foreground();
  [[nodiscard]] std::string how_it_ended() const { return service_.how_it_ended(); }
  /// Why it does not serve, when it has a master.
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
  /// The last lines that it has written since the start.
  [[nodiscard]] std::vector<std::string> last_words() const;
  /// To be told of each child that was reaped.
  void reaped(pid_t pid, os::ExitStatus status) { service_.reaped(pid, status); }

 private:
  [[nodiscard]] std::vector<os::Process> everybody() const;
  [[nodiscard]] bool serves_already() const;
  asio::awaitable<Start> booted();

  asio::io_context& io_;
  os::Children& children_;
  const CheckupRequest& request_;
  ScratchLocks& locks_;
  std::function<bool()> stopping_;
  Service service_;
  os::Fd sink_;
  std::optional<Output> output_;
  std::optional<OutputMark> began_;
  std::optional<OutputMark> booted_;
  std::string problem_ = {};
};

}  // namespace drover::herd
