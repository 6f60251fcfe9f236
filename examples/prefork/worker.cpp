#include "examples/prefork/worker.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "examples/prefork/answer.h"
#include "examples/prefork/connection.h"
#include "examples/prefork/log.h"
#include "lib/cli/message.h"
#include "lib/os/clock.h"
#include "lib/os/error.h"
#include "lib/os/signals.h"

namespace drover::prefork {
namespace {

using namespace std::chrono_literals;

/// How long to leave connections in the queue when there is no descriptor for one.
constexpr int kNoDescriptorMs = 100;
/// How long a client may keep a worker for itself between two requests.
constexpr auto kIdle = 2s;
/// The same when the worker is to leave or somebody waits in the queue. Not at once: a client that
/// was told "keep-alive" may have sent its next request already.
constexpr auto kParting = 500ms;
/// How long a client may take to close its side of the connection.
constexpr auto kLinger = 1s;

class Worker {
 public:
  explicit Worker(WorkerSetup setup)
      : setup_(std::move(setup)),
        name_(fmt::format("worker[{}]", setup_.number)),
        timeout_(setup_.settings.timeout),
        identity_{setup_.number, setup_.generation, setup_.settings.reply},
        signals_(os::open_signalfd(os::signal_set({SIGQUIT, SIGUSR1}))) {
    setup_.title.set("prefork " + name_);
    ::signal(SIGTERM, SIG_DFL);
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGALRM, SIG_DFL);
    const sigset_t quick = os::signal_set({SIGTERM, SIGINT, SIGALRM});
    ::sigprocmask(SIG_UNBLOCK, &quick, nullptr);
  }

  void run() {
    if (setup_.faults.has(Fault::leak_child) && setup_.number == 0) leak_child();
    fail_if_asked_to(Fault::worker_failure);
    hang_if_asked_to();
    say_up();
    fail_if_asked_to(Fault::crash_workers);
    while (!told_to_leave())
      serve_whoever_comes();
    setup_.listeners.clear();
    log(name_ + ": left");
  }

 private:
  void fail_if_asked_to(Fault fault) const {
    if (setup_.faults.has(fault))
      throw Error::because(ECANCELED, "go on", {}, "a fault was asked for");
  }

  void hang_if_asked_to() const {
    if (!setup_.faults.has(Fault::hang_worker)) return;
    while (setup_.number == setup_.settings.workers - 1)
      ::pause();
  }

  void say_up() {
    log(name_ + ": up");
    setup_.heartbeats.done(setup_.number);
    const pid_t pid = ::getpid();
    // Less than PIPE_BUF: what several workers write does not mix (pipe(7)).
    (void)!::write(setup_.news.get(), &pid, sizeof pid);
    setup_.news.reset();
  }

  [[nodiscard]] std::vector<pollfd> with_listeners(std::vector<pollfd> watched) const {
    watched.reserve(watched.size() + setup_.listeners.size());
    for (const Listener& listener : setup_.listeners)
      watched.push_back({listener.fd.get(), POLLIN, 0});
    return watched;
  }

  /// Waits for a connection or an order. Orders come first: after QUIT nothing more is accepted.
  void serve_whoever_comes() {
    auto watched =
        with_listeners({{signals_.get(), POLLIN, 0}, {setup_.lifeline.get(), POLLIN, 0}});
    if (::poll(watched.data(), watched.size(), -1) < 0) return;
    for (size_t i = 2; i < watched.size(); ++i)
      if (watched[i].revents != 0 && !told_to_leave()) accept_from(watched[i].fd);
  }

  void accept_from(int listener) {
    os::Fd client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client) {
      out_of_descriptors_ = false;
      serve(Connection(std::move(client)));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      if (!std::exchange(out_of_descriptors_, true))
        complain(fmt::format("{}: {}", name_, Error(errno, "accept a connection").what()));
      // The connection stays in the queue, and poll(2) would come back at once: orders only.
      std::array orders{pollfd{signals_.get(), POLLIN, 0},
                        pollfd{setup_.lifeline.get(), POLLIN, 0}};
      (void)::poll(orders.data(), orders.size(), kNoDescriptorMs);
    }
    // Anything else is EAGAIN, another worker was faster, or a client that has gone already.
  }

  void serve(Connection connection) {
    do {
      begin_work();
    } while (answer_one(connection) && next_request_comes(connection));
    begin_work();
    connection.finish(Clock::now() + std::min<Clock::duration>(kLinger, timeout_ / 8));
    end_work();
  }

  void begin_work() {
    setup_.heartbeats.begin(setup_.number);
    // The master kills a worker that hangs. This one is for a worker that has lost its master.
    ::alarm(static_cast<unsigned>(2 * std::chrono::ceil<std::chrono::seconds>(timeout_).count()));
  }

  void end_work() {
    ::alarm(0);
    setup_.heartbeats.done(setup_.number);
  }

  /// Whether the connection stays open. Client and application share the time that a worker has.
  bool answer_one(Connection& connection) {
    Answer reply;
    bool with_body = true;
    bool stay = false;
    try {
      const auto request = connection.read_request(Clock::now() + timeout_ / 2);
      if (!request) return false;
      reply = answer(*request, identity_);
      with_body = request->method != "HEAD";
      stay = setup_.settings.keep_alive && request->keep_alive && !told_to_leave() &&
             !somebody_waits();
    } catch (const Refused& refused) {
      reply = {refused.status, ""};  // no body: it may be HEAD that was refused
    }
    if (cli::verbosity() == cli::Verbosity::verbose)
      log(fmt::format("{}: answers {}", name_, reply.status));
    return connection.write(compose(reply, with_body, stay), Clock::now() + timeout_ / 4) && stay;
  }

  /// After an answer with "keep-alive": waits for the next request.
  bool next_request_comes(const Connection& connection) {
    end_work();
    auto deadline = Clock::now() + kIdle;
    auto watched = with_listeners({{connection.fd(), POLLIN, 0},
                                   {signals_.get(), POLLIN, 0},
                                   {setup_.lifeline.get(), POLLIN, 0}});
    while (!connection.has_more()) {
      if (::poll(watched.data(), watched.size(), os::poll_timeout(deadline)) == 0) return false;
      if (watched[0].revents != 0) return true;
      if (!told_to_leave() && !somebody_waits()) continue;
      deadline = std::min(deadline, Clock::now() + kParting);
      watched.resize(1);  // the rest has been said
    }
    return true;
  }

  /// Whether a connection that nobody has accepted is in the queue of a listener.
  bool somebody_waits() {
    auto watched = with_listeners({});
    return ::poll(watched.data(), watched.size(), 0) > 0;
  }

  /// Takes the orders that have come. Does not block.
  bool told_to_leave() {
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGUSR1) reopen_log();
      if (info.ssi_signo == SIGQUIT) leaving_ |= !setup_.faults.has(Fault::ignore_quit);
    }
    pollfd lifeline{setup_.lifeline.get(), POLLIN, 0};
    if (!leaving_ && ::poll(&lifeline, 1, 0) > 0) {
      complain(name_ + ": the master is dead, leaving");
      leaving_ = true;
    }
    return leaving_;
  }

  void reopen_log() {
    try {
      log_to(setup_.settings.log);
    } catch (const Error& error) {
      complain(fmt::format("{}: {}", name_, error.what()));
    }
  }

  /// A child as a careless application leaves it behind: it keeps all that it has inherited.
  void leak_child() {
    if (::fork() != 0) return;
    setup_.title.set("prefork leaked child");
    for (;;)
      ::pause();
  }

  WorkerSetup setup_;
  const std::string name_;
  const Clock::duration timeout_;
  const Identity identity_;
  const os::Fd signals_;
  bool leaving_ = false;
  bool out_of_descriptors_ = false;  ///< and has said so
};

}  // namespace

void run_worker(WorkerSetup setup) { Worker(std::move(setup)).run(); }

}  // namespace drover::prefork
