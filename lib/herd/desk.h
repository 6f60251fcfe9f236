// What a herd answers over its control socket: lib/control/protocol.h, drover-ctl(1).
#pragma once

#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>

#include "lib/control/events.h"
#include "lib/control/server.h"
#include "lib/herd/company.h"
#include "lib/herd/reload.h"

namespace drover::herd {

/// What can be asked of the herd.
struct DeskActions {
  std::function<control::Json()> status;
  std::function<control::Json()> holders;
  /// Asks for a reload; the number that it will have. Throws control::Refused.
  std::function<int()> reload;
  std::function<void()> stop;
  /// Passes a signal on to the current master. Throws control::Refused.
  std::function<void(int)> signal;
};

/// Not for several threads.
class Desk {
 public:
  /// Makes the socket. Throws Error: EADDRINUSE when another herd answers there.
  /// Requests about the company, which may be null, are passed on to it.
  Desk(asio::io_context& io, const std::string& path, Company* company, DeskActions actions,
       control::Warning warning);

  /// Told of what happens, for those who follow it.
  void happened(std::string_view event, std::string_view text);
  /// Told of each step of reload `number`, and of its end.
  void began(int number, const Step& step);
  void finished(int number, const ReloadReport& report);
  /// The service has ended: the last answers.
  void ended(bool as_asked);

 private:
  struct Waiter {
    int number = 0;  ///< of the reload that is waited for; 0: for the end
    control::Reply& reply;
    control::Json answer = nullptr;
  };

  asio::awaitable<void> handle(control::Request request, control::Reply& reply);
  asio::awaitable<void> answer_of(int number, control::Reply& reply);
  [[nodiscard]] control::Json last_reload() const;

  Company* const company_;
  DeskActions actions_;
  control::Events events_;
  std::list<Waiter> waiters_;
  control::Json last_ = nullptr;  ///< the last reload
  std::chrono::steady_clock::time_point last_begin_;
  control::Server server_;
};

/// As drover-ctl shows it.
control::Json to_json(int number, const ReloadReport& report);

}  // namespace drover::herd
