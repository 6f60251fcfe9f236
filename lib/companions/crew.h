// The companions of a configuration file: with what is said of them, and what is answered. One code
// for drover-companions and for a herd that has companions.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <string>
#include <vector>

#include "lib/companions/desk.h"
#include "lib/companions/manager.h"

namespace drover::companions {

struct Voice {
  std::function<void(const std::string&)> detail;
  std::function<void(const std::string&)> notice;
  std::function<void(const std::string&)> warning;
};

struct CrewHooks {
  /// "NAME: RUNNING -> BACKOFF: why". May be empty.
  std::function<void(const std::string&)> moved;
  /// All have stopped that were asked to by stop().
  std::function<void()> ended;
};

/// Not for several threads. What is said of Manager holds for whoever runs the loop.
class Crew {
 public:
  /// Reads the file; `default_run_dir` is that of a file that names none, and may be empty. Throws
  /// Error.
  Crew(asio::io_context& io, const std::string& config, std::string default_run_dir, Voice voice,
       CrewHooks hooks);
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  /// Where its locks are; may be empty.
  [[nodiscard]] const std::string& run_dir() const noexcept { return run_dir_; }
  [[nodiscard]] Manager& manager() noexcept { return manager_; }
  [[nodiscard]] const Manager& manager() const noexcept { return manager_; }
  [[nodiscard]] Desk& desk() noexcept { return desk_; }
  [[nodiscard]] const Desk& desk() const noexcept { return desk_; }

  void begin() { manager_.begin(); }
  void reaped(pid_t pid, os::ExitStatus status) { manager_.reaped(pid, status); }
  /// Throws Error, and has changed nothing then.
  void reread();
  /// Throws Error.
  void reopen_logs() { Manager::reopen_logs(manager_.companions()); }
  void stop() { manager_.stop_all(); }

 private:
  [[nodiscard]] Specs read() const;
  Specs first_read();
  void moved(const Companion& companion, State before);
  [[nodiscard]] const std::function<void(const std::string&)>& voice_for(State state) const;
  void leave(const std::string& lock);
  void report_leftovers();

  asio::io_context& io_;
  const Voice voice_;
  const CrewHooks hooks_;
  const std::string config_;
  const std::string default_run_dir_;
  std::string run_dir_;
  std::vector<std::string> left_;  ///< the locks of those that have just stopped
  Manager manager_;
  Desk desk_;
};

}  // namespace drover::companions
