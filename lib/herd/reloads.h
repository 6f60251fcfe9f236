// The reloads of a herd as they are asked for: one after the other, each with a verdict that is
// said to everybody who may want to know.
#pragma once

#include <sys/types.h>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "lib/control/notify_socket.h"
#include "lib/herd/desk.h"
#include "lib/herd/herd.h"
#include "lib/herd/output.h"
#include "lib/herd/service.h"
#include "lib/herd/stop.h"
#include "lib/herd/vigil.h"
#include "lib/os/children.h"
#include "lib/os/timer.h"

namespace drover::herd {

/// What the reloads need of the herd that they happen in.
struct ReloadsContext {
  asio::io_context& io;
  const HerdRequest& request;
  const Voice& voice;
  Service& service;
  os::Children& children;
  const Stop& stop;
  Vigil& vigil;
  Notifier& supervisor;
  std::optional<Output>& output;
  std::unique_ptr<Company>& company;
  std::optional<Desk>& desk;
};

/// Not for several threads.
class Reloads {
 public:
  explicit Reloads(const ReloadsContext& context) : c_(context), wanted_changed_(c_.io) {}

  /// Those who ask while one is under way share the one after it.
  void ask(std::string_view who);
  /// Somebody has asked the server already: it is gone on from there.
  void go_on(std::string_view who);
  /// Does them, for as long as the loop runs.
  asio::awaitable<void> run();
  /// Until nobody waits for a verdict, at most until `limit`: then they are told that the service
  /// has ended under the reload.
  asio::awaitable<void> wound_up(std::chrono::nanoseconds limit);

  [[nodiscard]] bool under_way() const noexcept { return under_way_; }
  /// Whether one more will follow.
  [[nodiscard]] bool queued() const noexcept { return wanted_ && under_way_; }
  /// The number of the last one; the first is 1.
  [[nodiscard]] int number() const noexcept { return number_; }

  /// What a process of the server says of itself.
  void heard(const control::NotifyMessage& message);

 private:
  asio::awaitable<void> reload_once();
  asio::awaitable<std::vector<std::string>> written_since(const OutputMark& mark);
  [[nodiscard]] std::string why_not() const;
  void begun(const Step& step);
  void ended(const ReloadReport& report);
  void say_verdict(const ReloadReport& report);
  void write_trace(const ReloadReport& report);

  const ReloadsContext c_;
  os::Timer wanted_changed_;
  std::string asked_by_;
  std::string last_failure_;
  int number_ = 0;
  bool was_begun_ = false;
  bool wanted_ = false;
  bool under_way_ = false;
  bool over_ = false;  ///< the last verdict was said
  // Since the reload began: the senders, and whom they descend from.
  std::set<pid_t> said_reloading_;
  std::set<pid_t> said_ready_;
};

}  // namespace drover::herd
