#include "lib/os/children.h"

#include <sys/wait.h>

#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>

namespace drover::os {

void Children::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    const auto found = awaited_.find(pid);
    if (found != awaited_.end()) {
      found->second->status_ = ExitStatus{status};
      found->second->changed_.cancel();
      awaited_.erase(found);
    } else if (other_) {
      other_(pid, ExitStatus{status});
    }
  }
}

Children::Child::Child(Children& children, pid_t pid)
    : children_(children), pid_(pid), changed_(children.io_) {
  children_.awaited_[pid_] = this;
}

Children::Child::~Child() {
  if (!status_) children_.awaited_.erase(pid_);
}

asio::awaitable<std::optional<ExitStatus>> Children::Child::ended(Deadline deadline) {
  while (!status_ && (!deadline || Timer::Clock::now() < *deadline)) {
    changed_.expires_at(deadline.value_or(Timer::Clock::time_point::max()));
    asio::error_code woken;
    co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
  co_return status_;
}

}  // namespace drover::os
