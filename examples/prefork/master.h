// The master: owns the listening sockets, the pidfile and the workers, and serves no request
// itself.
#pragma once

#include <signal.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "examples/prefork/daemonize.h"
#include "examples/prefork/faults.h"
#include "examples/prefork/heartbeats.h"
#include "examples/prefork/pidfile.h"
#include "examples/prefork/pool.h"
#include "examples/prefork/reexec.h"
#include "examples/prefork/settings.h"
#include "examples/prefork/title.h"
#include "lib/os/error.h"
#include "lib/os/signals.h"

namespace drover::prefork {

/// Takes these signals, and SIGCHLD, for the whole process; all of them in one place,
/// take_signals():
///   QUIT      stop when the requests in flight are done    TTIN, TTOU  one worker more, one less
///   TERM INT  stop at once                                 USR1        reopen the log
///   USR2      start the program anew beside this one       WINCH       all workers leave
///   HUP       replace the workers, one by one
class Master {
 public:
  Master(const Settings& settings, const Start& start, Inheritance inheritance,
         const Faults& faults, Title& title, Launcher& launcher);
  ~Master();
  Master(const Master&) = delete;
  Master& operator=(const Master&) = delete;

  /// Boots, serves until it is told to stop, returns when the last worker is gone. Throws Error
  /// when the boot fails: when the application does not load, or a worker dies before it is up.
  void run();

 private:
  void boot();
  void load_application();
  void work_as(int number);

  void wait();
  void take_news();
  void take_signals();
  void handle(int signal);
  void handle_while_serving(int signal);
  void reap();
  void stop(int signal);
  void reload();
  void successor_died(os::ExitStatus status);
  void take_place_again();
  void reopen_log();
  void say_ready();

  const Settings& settings_;
  const Start& start_;
  Inheritance inheritance_;
  const Faults& faults_;
  Title& title_;
  Launcher& launcher_;

  const os::BlockedSignals blocked_;
  os::Fd signals_;
  os::Fd lifeline_reader_, lifeline_writer_;
  os::Fd news_reader_, news_writer_;

  std::vector<Listener> listeners_;
  Pidfile pidfile_;
  std::vector<std::byte> preloaded_;
  Heartbeats heartbeats_;
  Pool pool_;
  int workers_;           ///< how many there are when it does not rest
  pid_t successor_ = 0;   ///< the new master, while a reload is under way
  bool resting_ = false;  ///< no workers, on WINCH
  bool ready_ = false;
  bool stopping_ = false;
  std::optional<Error> failure_;  ///< of the boot
};

}  // namespace drover::prefork
