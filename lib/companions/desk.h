// What a manager of companions answers over its control socket: drover-control(7). A superset of
// what gunicorn's companion manager answers, whose clients work unchanged.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "lib/companions/manager.h"
#include "lib/control/events.h"
#include "lib/control/server.h"

namespace drover::companions {

struct DeskActions {
  /// Reads the configuration anew. Throws Error. Empty where there is none to read.
  std::function<Specs()> read;
};

/// Not for several threads.
class Desk {
 public:
  Desk(asio::io_context& io, Manager& manager, DeskActions actions)
      : io_(io), manager_(manager), actions_(std::move(actions)) {}

  /// Where clients find it: at a path that the newest of several managers has, and at one of its
  /// own.
  void set_sockets(std::string shared, std::string own) {
    socket_ = std::move(shared);
    own_socket_ = std::move(own);
  }
  /// Carries a request out. It may be destroyed behind this.
  asio::awaitable<void> handle(control::Request request, control::Reply& reply);
  /// An entry for each companion.
  [[nodiscard]] control::Json entries() const { return entries_of(manager_.companions()); }

  void moved(const Companion& companion, State before);
  /// All have stopped: the last answers.
  void ended();

 private:
  struct Goal;
  using Companions = Manager::List;

  using Replies = std::list<control::Reply*>;

  /// While it lives, the client is woken whenever a companion has moved. The loop may destroy it
  /// after the desk.
  class Waiting {
   public:
    Waiting(Desk& desk, control::Reply& reply)
        : all_(desk.waiting_), at_(all_->insert(all_->end(), &reply)) {}
    ~Waiting() { all_->erase(at_); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    std::shared_ptr<Replies> all_;
    Replies::iterator at_;
  };

  [[nodiscard]] control::Json entries_of(const Companions& companions) const;
  asio::awaitable<void> carry_out(const control::Request& request, control::Reply& reply);
  control::Json status(const control::Request& request);
  control::Json hello(const control::Request& request);
  control::Json reread(const control::Request& request);
  control::Json why(const control::Request& request);
  control::Json reopen(const control::Request& request);
  control::Json signal(const control::Request& request);
  control::Json release(const control::Request& request);
  asio::awaitable<void> shut_down(const control::Request& request, control::Reply& reply);
  asio::awaitable<void> change(const control::Request& request, control::Reply& reply);
  asio::awaitable<void> until_down(os::Deadline limit, const control::Request& request,
                                   control::Reply& reply);
  /// Answers, unless all goals are reached.
  asio::awaitable<void> wait_for(const std::vector<Goal>& goals, os::Deadline limit,
                                 const control::Request& request, control::Reply& reply);
  static std::string message_of(const std::vector<Goal>& goals, bool is_over);
  [[nodiscard]] Companions named(const control::Request& request) const;

  asio::io_context& io_;
  Manager& manager_;
  DeskActions actions_;
  control::Events events_;
  std::shared_ptr<Replies> waiting_ = std::make_shared<Replies>();
  const std::chrono::steady_clock::time_point began_at_ = std::chrono::steady_clock::now();
  bool has_ended_ = false;
  std::string socket_, own_socket_;
};

}  // namespace drover::companions
