#include "examples/prefork/master.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "examples/prefork/log.h"
#include "examples/prefork/worker.h"
#include "lib/os/clock.h"

namespace drover::prefork {
namespace {

constexpr auto kQuickGrace = std::chrono::seconds(2);

sigset_t taken_signals() {
  return os::signal_set(
      {SIGQUIT, SIGTERM, SIGINT, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH, SIGHUP, SIGCHLD});
}

void make_pipe(os::Fd& reader, os::Fd& writer) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw Error(errno, "make a pipe to the workers");
  reader.reset(ends[0]);
  writer.reset(ends[1]);
}

}  // namespace

Master::Master(const Settings& settings, const Start& start, Inheritance inheritance,
               const Faults& faults, Title& title, Launcher& launcher)
    : settings_(settings),
      start_(start),
      inheritance_(std::move(inheritance)),
      faults_(faults),
      title_(title),
      launcher_(launcher),
      blocked_(taken_signals()),
      signals_(os::open_signalfd(taken_signals())),
      pidfile_(settings.pidfile),
      pool_(heartbeats_, settings.timeout, [this](int number) { work_as(number); }),
      workers_(settings.workers) {
  // Ignored ones are inherited: children would vanish without a status.
  ::signal(SIGCHLD, SIG_DFL);
  ::signal(SIGPIPE, SIG_IGN);
  make_pipe(lifeline_reader_, lifeline_writer_);
  make_pipe(news_reader_, news_writer_);
}

Master::~Master() { pidfile_.remove(); }

void Master::run() {
  boot();
  while (!stopping_ || !pool_.empty()) {
    pool_.maintain();
    wait();
    take_news();
    take_signals();
    if (!ready_ && !stopping_ && pool_.all_up()) say_ready();
  }
  if (failure_) throw Error(*failure_);
  if (!ready_) launcher_.failed("it was told to stop before its workers were up");
  log("master: stopped");
}

void Master::boot() {
  title_.set("prefork master");
  log(fmt::format("master: generation {} starts", inheritance_.generation));
  // The sockets first: a second server on the same port ends here, before it touches the pidfile.
  listeners_ = open_listeners(settings_.addresses, std::move(inheritance_.listeners));
  inheritance_.listeners.clear();
  pidfile_.write();
  load_application();
  pool_.resize(workers_);
}

void Master::load_application() {
  if (faults_.has(Fault::slow_boot))
    std::this_thread::sleep_for(std::chrono::duration<double>(faults_.seconds(Fault::slow_boot)));
  if (faults_.has(Fault::hang_boot))
    for (;;)
      ::pause();
  if (faults_.has(Fault::boot_failure))
    throw Error::because(ECANCELED, "load the application", {},
                         "the fault 'boot-failure' was asked for");
  // Loaded once, before fork(2): the workers share these pages until one of them writes there.
  preloaded_.assign(settings_.preload_mb << 20, std::byte{0x5A});
}

void Master::work_as(int number) {
  // What is the master's alone. Above all the end of the lifeline: as long as one worker has it, no
  // worker sees the master die.
  lifeline_writer_.reset();
  news_reader_.reset();
  signals_.reset();
  launcher_.forget();
  run_worker({.number = number,
              .generation = inheritance_.generation,
              .settings = settings_,
              .faults = faults_,
              .title = title_,
              .heartbeats = heartbeats_,
              .listeners = std::move(listeners_),
              .lifeline = std::move(lifeline_reader_),
              .news = std::move(news_writer_)});
}

void Master::wait() {
  pollfd watched[] = {{signals_.get(), POLLIN, 0}, {news_reader_.get(), POLLIN, 0}};
  ::poll(watched, std::size(watched), os::poll_timeout(pool_.next_deadline()));
}

void Master::take_news() {
  pid_t worker = 0;
  while (::read(news_reader_.get(), &worker, sizeof worker) == sizeof worker)
    pool_.is_up(worker);
}

void Master::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info)
    handle(static_cast<int>(info.ssi_signo));
}

void Master::handle(int signal) {
  if (signal == SIGCHLD) return reap();
  log(fmt::format("master: {}", os::signal_name(signal)));
  switch (signal) {
    case SIGQUIT:
      if (!faults_.has(Fault::ignore_quit)) stop(SIGQUIT);
      break;
    case SIGTERM:
    case SIGINT:
      stop(SIGTERM);
      break;
    case SIGUSR1:
      reopen_log();
      break;
    default:
      if (!stopping_) handle_while_serving(signal);
  }
}

void Master::handle_while_serving(int signal) {
  switch (signal) {
    case SIGTTIN:
    case SIGTTOU:
      workers_ = std::clamp(workers_ + (signal == SIGTTIN ? 1 : -1), 0, kMostWorkers);
      resting_ = resting_ && signal == SIGTTOU;
      break;
    case SIGWINCH:
      // A terminal sends it whenever its window changes.
      resting_ = resting_ || !::isatty(STDIN_FILENO);
      break;
    case SIGHUP:
      resting_ = false;
      pool_.replace_all();
      break;
    case SIGUSR2:
      reload();
      break;
    default:
      break;
  }
  pool_.resize(resting_ ? 0 : workers_);
}

void Master::stop(int signal) {
  stopping_ = true;
  // Whoever comes from now on is for the successor. Without one the last worker's copies keep the
  // queue open until its request is done: who came meanwhile is reset, who comes then is refused.
  listeners_.clear();
  pool_.dismiss(signal, signal == SIGQUIT ? settings_.timeout : kQuickGrace);
}

void Master::reap() {
  int status = 0;
  // One SIGCHLD may stand for many children.
  while (const pid_t child = ::waitpid(-1, &status, WNOHANG)) {
    if (child < 0) return;
    take_news();  // what it said before it died
    if (child == successor_) {
      successor_died({status});
      continue;
    }
    const auto death = pool_.reaped(child, {status});
    if (ready_ || !death || death->was_up || death->expected) continue;
    failure_ = Error::because(ECHILD, "start", fmt::format("worker[{}]", death->number),
                              os::ExitStatus{status}.describe());
    stop(SIGTERM);  // the other workers may serve already
  }
}

void Master::say_ready() {
  ready_ = true;
  log(fmt::format("master: ready, generation {}, {} workers", inheritance_.generation, workers_));
  launcher_.succeeded();
}

void Master::reopen_log() {
  try {
    log_to(settings_.log);
  } catch (const Error& error) {
    complain(fmt::format("master: {}", error.what()));
  }
  pool_.signal_all(SIGUSR1);
}

void Master::reload() {
  if (successor_ != 0 || inheritance_.old_master_lives()) {
    complain(fmt::format("master: no reload: the one before is under way, with process {}",
                         successor_ != 0 ? successor_ : inheritance_.old_master));
    return;
  }
  try {
    pidfile_.step_aside();
    successor_ = start_successor(start_, listeners_, inheritance_.generation + 1, faults_);
    title_.set("prefork master (old)");
    log(fmt::format("master: the successor is process {}", successor_));
  } catch (const Error& error) {
    complain(fmt::format("master: no reload: {}", error.what()));
    take_place_again();
  }
}

void Master::successor_died(os::ExitStatus status) {
  complain(fmt::format("master: the successor, process {}, {}: going on", successor_,
                       status.describe()));
  take_place_again();
}

void Master::take_place_again() {
  try {
    pidfile_.come_back(successor_);
  } catch (const Error& error) {
    complain(fmt::format("master: {}", error.what()));
  }
  successor_ = 0;
  title_.set("prefork master");
}

}  // namespace drover::prefork
