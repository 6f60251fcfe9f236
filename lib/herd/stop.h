// A stop that was asked for, until nothing is left.
#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/herd/service.h"
#include "lib/herd/voice.h"
#include "lib/os/children.h"

namespace drover::herd {

class Stop {
 public:
  Stop(Service& service, const Voice& voice) : service_(service), voice_(voice) {}

  /// Passes the signal on to every master; another one after it as well.
  void ask(int number);
  [[nodiscard]] bool asked() const noexcept { return number_.has_value(); }

  /// Until `gone()`. Tells those masters, too, that come meanwhile, as a reload may be under way;
  /// kills what is left of the service after `limit`.
  asio::awaitable<void> enforced(std::function<bool()> gone, std::chrono::nanoseconds limit);

 private:
  void attempt(const std::function<void()>& action);
  void tell();
  bool is_to_be_told(pid_t pid);

  Service& service_;
  const Voice& voice_;
  std::optional<int> number_;
  bool warned_ = false;
  struct Told {
    std::string image;      ///< that it was executing
    uint64_t handlers = 0;  ///< and the signals that it had handlers for
  };
  std::map<pid_t, Told> told_;
};

/// Passes a signal on and says so. What cannot be passed on is a warning.
void pass(const os::Process& process, int number, std::string_view role, const Voice& voice);

/// Ends whoever descends from this process, without `but`: TERM, and KILL after `patience`. Not
/// those that belong to somebody else by now, such as what "docker exec" has left to process 1.
/// Says nothing. Blocks for an instant.
asio::awaitable<void> end_descendants(os::Children& children, pid_t but,
                                      std::chrono::nanoseconds patience);

}  // namespace drover::herd
