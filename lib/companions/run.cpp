#include "lib/companions/run.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <cerrno>
#include <csignal>
#include <utility>

#include "lib/companions/request.h"
#include "lib/control/server.h"
#include "lib/control/shared_name.h"
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
  Run(const RunRequest& request, const Voice& voice)
      : voice_(voice),
        children_(io_),
        signals_(io_, taken_signals(), [this](int number) { take(number); }),
        crew_(io_, request.config, folder_of(request.control), voice, {{}, [this] { io_.stop(); }}),
        server_(io_, control::own_name(control_socket(request), ::getpid()),
                [this](control::Request asked, control::Reply& reply) {
                  return crew_.desk().handle(std::move(asked), reply);
                },
                voice_.warning, request_limits(), {parse_request, refusal}),
        name_(control_socket(request), server_.path()) {
    crew_.desk().set_sockets(name_.path(), server_.path());
    children_.on_other([this](pid_t pid, os::ExitStatus status) { crew_.reaped(pid, status); });
  }

  void run() {
    crew_.begin();
    os::release_free_memory();
    while (!run_loop()) {
    }
    io_.restart();
    io_.poll();  // the last answers
  }

 private:
  static std::string folder_of(const std::string& control) {
    return control.empty() ? "" : os::split_path(os::absolute(control)).first;
  }

  [[nodiscard]] std::string control_socket(const RunRequest& request) const {
    if (!request.control.empty()) return request.control;
    if (crew_.run_dir().empty())
      throw Error::because(EBADMSG, "use companions", request.config,
                           "neither run_dir nor --control says where the control socket is to be");
    return crew_.run_dir() + "/companions.sock";
  }

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
        crew_.reread();
        break;
      case SIGUSR1:
        crew_.reopen_logs();
        break;
      default:
        crew_.stop();
    }
  }

  const Voice& voice_;
  asio::io_context io_{1};
  os::Children children_;
  os::TakenSignals signals_;
  Crew crew_;
  control::Server server_;
  control::SharedName name_;
};

}  // namespace

void run(const RunRequest& request, const Voice& voice) {
  os::block_signals(taken_signals());
  ::signal(SIGXFSZ, SIG_IGN);  // a log at its limit is lost like one on a full disk
  const os::ReapableChildren reapable;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) throw Error(errno, "adopt orphaned processes");
  Run(request, voice).run();
}

}  // namespace drover::companions
