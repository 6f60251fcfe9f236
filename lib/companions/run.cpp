#include "lib/companions/run.h"

#include <fmt/core.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <optional>
#include <utility>
#include <vector>

#include "lib/companions/desk.h"
#include "lib/companions/keepers.h"
#include "lib/companions/manager.h"
#include "lib/os/children.h"
#include "lib/os/error.h"
#include "lib/os/memory.h"
#include "lib/os/signals.h"
#include "lib/os/taken_signals.h"

namespace drover::companions {
namespace {

sigset_t taken_signals() {
  return os::signal_set({SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGCHLD});
}

class Run {
 public:
  Run(const RunRequest& request, const RunVoice& voice)
      : voice_(voice),
        config_(os::absolute(request.config)),
        default_run_dir_(
            request.control.empty() ? "" : os::split_path(os::absolute(request.control)).first),
        children_(io_),
        signals_(io_, taken_signals(), [this](int number) { take(number); }) {
    Specs specs = read();
    std::string control = request.control;
    if (control.empty()) control = specs.run_dir + "/companions.sock";
    if (specs.run_dir.empty())
      throw Error::because(EBADMSG, "use companions", config_,
                           "neither run_dir nor --control says where the control socket is to be");
    manager_.emplace(
        io_, std::move(specs),
        ManagerHooks{voice_.warning,
                     [this](const Companion& companion, State before) { moved(companion, before); },
                     [this] { ended(); }});
    desk_.emplace(io_, control, *manager_, DeskActions{[this] { return read(); }}, voice_.warning);
    children_.on_other([this](pid_t pid, os::ExitStatus status) { manager_->reaped(pid, status); });
  }

  void run() {
    manager_->begin();
    os::release_free_memory();
    while (!run_loop()) {
    }
    io_.restart();
    io_.poll();  // the last answers
  }

 private:
  /// False when something in it has failed: that is not the end of the companions.
  bool run_loop() {
    try {
      io_.run();
    } catch (const std::system_error& error) {  // Error, and what Asio throws
      voice_.warning(error.what());
      return false;
    }
    return true;
  }

  [[nodiscard]] Specs read() const { return read_specs(config_, default_run_dir_); }

  void moved(const Companion& companion, State before) {
    desk_->moved(companion, before);
    const std::string& reason = companion.history().reason;
    const std::string text =
        fmt::format("{}: {} -> {}{}{}", companion.spec().name, name_of(before),
                    name_of(companion.state()), reason.empty() ? "" : ": ", reason);
    voice_for(companion.state())(text);
    if (companion.state() == State::stopped && companion.spec().singleton())
      leave(companion.spec().lock);
  }

  [[nodiscard]] const std::function<void(const std::string&)>& voice_for(State state) const {
    switch (state) {
      case State::backoff:
      case State::fatal:
        return voice_.warning;
      case State::running:
      case State::stopped:
      case State::exited:
        return voice_.notice;
      default:
        return voice_.detail;
    }
  }

  /// What a stop could not reach has left the process group, and keeps the lock. One look for all
  /// that have stopped in one turn of the loop.
  void leave(const std::string& lock) {
    left_.push_back(lock);
    if (left_.size() == 1) asio::post(io_, [this] { report_leftovers(); });
  }

  void report_leftovers() {
    const auto locks = std::exchange(left_, {});
    try {
      for (const auto& [lock, keeper] : keepers_below(locks, ::getpid()))
        voice_.warning("left behind a stop: " + describe(keeper, lock));
    } catch (const Error& error) {
      voice_.warning(error.what());
    }
  }

  void ended() {
    desk_->ended();
    io_.stop();
  }

  void take(int number) {
    try {
      handle(number);
    } catch (const Error& error) {
      voice_.warning(error.what());
    }
  }

  void handle(int number) {
    switch (number) {
      case SIGCHLD:
        children_.reap();
        break;
      case SIGHUP:
        if (!manager_->is_stopping()) manager_->reread(read());
        break;
      case SIGUSR1:
        Manager::reopen_logs(manager_->companions());
        break;
      default:
        manager_->stop_all();
    }
  }

  const RunVoice& voice_;
  std::string config_;
  std::string default_run_dir_;
  asio::io_context io_{1};
  os::Children children_;
  os::TakenSignals signals_;
  std::vector<std::string> left_;  ///< the locks of those that have just stopped
  std::optional<Manager> manager_;
  std::optional<Desk> desk_;
};

}  // namespace

void run(const RunRequest& request, const RunVoice& voice) {
  os::block_signals(taken_signals());
  ::signal(SIGXFSZ, SIG_IGN);  // a log at its limit is lost like one on a full disk
  const os::ReapableChildren reapable;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) throw Error(errno, "adopt orphaned processes");
  Run(request, voice).run();
}

}  // namespace drover::companions
