// drover-hold: take a lock that the command and all its children inherit, then become the command.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/flock/guard.h"
#include "lib/flock/hold.h"
#include "lib/flock/inspect.h"
#include "lib/flock/pidfile.h"
#include "lib/os/procfs.h"
#include "lib/os/spawn.h"

namespace drover {
namespace {

const cli::Description kDescription{
    .name = "drover-hold",
    .synopsis =
        "[OPTIONS] LOCK [--] COMMAND [ARG...]\n"
        "       drover-hold [OPTIONS] --pidfile PIDFILE [--] COMMAND [ARG...]\n"
        "       drover-hold [OPTIONS] --adopt FD [LOCK]",
    .summary = "Take a shared lock that COMMAND and all its children inherit, then run COMMAND.",
    .examples = {"drover-hold /run/app/app.pid.lock unicorn -D -c /etc/app/unicorn.rb",
                 "drover-hold -x -n /run/backup.lock nightly-backup   # at most one of it",
                 "drover-hold --guard --pidfile /run/app/app.pid puma # puma closes descriptors"},
    .wrapper = true,
    .verbose = "Say which descriptor holds the lock, too",
};

struct Arguments {
  bool exclusive = false;
  bool no_wait = false;
  bool new_generation = false;
  bool guard = false;
  std::optional<std::chrono::nanoseconds> limit;
  int busy_code = cli::kNo;
  std::string placement;
  std::string mode = "0600";
  std::optional<std::string> pidfile;
  int adopted_fd = -1;
  std::string lock;
  std::vector<std::string> command;
};

/// Takes LOCK and the command out of the words that follow the options.
void read_words(Arguments& arguments, std::vector<std::string> words) {
  auto next = words.begin();
  if (next != words.end() && *next == "--") {
    ++next;
  } else if (next != words.end() && next->size() > 1 && next->front() == '-') {
    throw cli::UsageError(fmt::format("'{}' is no option", *next));
  }
  if (arguments.pidfile) {
    arguments.lock = *arguments.pidfile + ".lock";
  } else if (next != words.end()) {
    arguments.lock = *next++;
  }
  if (next != words.end() && *next == "--") ++next;
  arguments.command.assign(next, words.end());

  if (arguments.adopted_fd >= 0) {
    if (!arguments.command.empty()) throw cli::UsageError("--adopt takes no command");
    if (arguments.new_generation || arguments.guard || !arguments.placement.empty())
      throw cli::UsageError("--adopt does not go with --new, --guard or --fd");
    return;
  }
  if (arguments.lock.empty()) throw cli::UsageError("a LOCK, or --pidfile PIDFILE, is needed");
  if (arguments.command.empty()) throw cli::UsageError("a COMMAND is needed");
  const std::string& command = arguments.command.front();
  if (command.starts_with('-'))
    throw cli::UsageError(
        fmt::format("'{}' stands where the COMMAND should: options come before LOCK, which is '{}'",
                    command, arguments.lock));
  if (arguments.pidfile && command == arguments.lock)
    throw cli::UsageError("with --pidfile no LOCK is given");
}

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  cli::Options options(kDescription);
  auto& app = options.app();
  options.stop_at_first_word();
  app.add_flag("-x,--exclusive", arguments.exclusive,
               "Exclusive: wait until the last process of the previous holder is gone");
  app.add_flag("-n,--nonblock", arguments.no_wait, "Do not wait for the lock");
  options.add_duration("-w,--timeout", arguments.limit, "Wait at most TIME for the lock");
  app.add_option("-E,--conflict-exit-code", arguments.busy_code,
                 "Exit with CODE when the lock is busy (1)")
      ->type_name("CODE")
      ->transform(cli::decimal())
      ->check(CLI::Range(0, 255));
  app.add_option("--fd", arguments.placement,
                 "Descriptor of the lock: high (1025 and up), low, or a number")
      ->type_name("high|low|N");
  app.add_option("--mode", arguments.mode, "Mode of a lock file that is made (0600)")
      ->type_name("OCTAL");
  app.add_flag("--new", arguments.new_generation,
               "A fresh generation: wait until nobody holds LOCK, put a new file there");
  app.add_flag("--guard", arguments.guard,
               "Stay as parent and keep the lock until the last descendant is gone");
  auto* pidfile = app.add_option("--pidfile", arguments.pidfile, "PIDFILE.lock is the LOCK");
  pidfile->type_name("PIDFILE")->check(cli::is_pidfile_name());
  app.add_option("--adopt", arguments.adopted_fd, "Lock descriptor FD of the caller, and exit")
      ->type_name("FD")
      ->transform(cli::decimal())
      ->check(CLI::Range(0, 1 << 30));
  if (!options.parse(argc, argv)) return false;
  if (pidfile->count() > 1) throw cli::UsageError("--pidfile is given more than once");
  read_words(arguments, options.words());
  return true;
}

int read_number(const std::string& text, int base, int smallest, int largest,
                const std::string& what) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{} || end != text.data() + text.size() || number < smallest ||
      number > largest)
    throw cli::UsageError(fmt::format("'{}' is no {}", text, what));
  return number;
}

flock::Patience patience_of(const Arguments& arguments) {
  if (arguments.no_wait || (arguments.limit && arguments.limit->count() == 0))
    return flock::Patience::none();
  if (arguments.limit)
    return flock::Patience::until(std::chrono::steady_clock::now() + *arguments.limit);
  return flock::Patience::forever();
}

flock::HoldRequest request_of(const Arguments& arguments) {
  flock::HoldRequest request;
  request.path = arguments.lock;
  request.mode = arguments.exclusive ? flock::Mode::exclusive : flock::Mode::shared;
  request.patience = patience_of(arguments);
  request.new_generation = arguments.new_generation;
  request.first_free = flock::first_free_descriptor(std::getenv("LISTEN_FDS"));
  request.file_mode =
      static_cast<mode_t>(read_number(arguments.mode, 8, 0, 0777, "mode, such as 0640"));
  if (arguments.placement == "low") {
    request.placement.kind = flock::Placement::Kind::low;
  } else if (!arguments.placement.empty() && arguments.placement != "high") {
    request.placement = {flock::Placement::Kind::exactly,
                         read_number(arguments.placement, 10, request.first_free, 1 << 30,
                                     "descriptor that is free for a lock")};
  }
  return request;
}

std::string who_holds(const std::string& lock) {
  try {
    const auto reports = flock::inspect({lock});
    if (!reports[0].descriptions.empty())
      return fmt::format("process {}", reports[0].descriptions[0].holders[0].pid);
  } catch (const Error&) {  // it is gone, or not ours to look at
  }
  return "another process";
}

int say_busy(const Arguments& arguments, flock::Acquired acquired) {
  cli::say(
      cli::Level::notice,
      fmt::format("cannot lock '{}': {} by {}", arguments.lock,
                  acquired == flock::Acquired::busy ? "it is held" : "still held at the time limit",
                  who_holds(arguments.lock)));
  return arguments.busy_code;
}

/// Nobody holds what was just begun: a pidfile that a killed generation left, under whichever name
/// of a reload, would only keep the server from starting or from reloading.
void remove_pidfiles(const std::string& pidfile) {
  for (const char* suffix : {"", ".oldbin", ".2"})
    if (const auto pid = flock::remove_stale_pidfile(pidfile + suffix))
      cli::say(cli::Level::notice, fmt::format("removed '{}{}', whose writer, process {}, is gone",
                                               pidfile, suffix, *pid));
}

[[noreturn]] void become_command(const Arguments& arguments) {
  try {
    os::exec_command(arguments.command);
  } catch (const os::ExecError& error) {
    const bool perhaps_command =
        !arguments.pidfile && arguments.lock.find('/') == std::string::npos;
    if (error.err() != ENOENT || !perhaps_command) throw;
    throw os::ExecError(error.err(), arguments.command[0],
                        fmt::format("'{}' was taken as the LOCK", arguments.lock));
  }
}

int stay_as_guard(const std::vector<std::string>& command) {
  if (!os::proc_is_ours())
    cli::say(
        cli::Level::warning,
        "/proc does not show this pid namespace: signals are passed on to the command only, not "
        "to processes that it leaves behind; mount a /proc here (unshare --mount-proc)");
  return flock::guard(command).shell_code();
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  const flock::HoldRequest request = request_of(arguments);
  if (arguments.adopted_fd >= 0) {
    const auto acquired =
        flock::adopt(arguments.adopted_fd, arguments.lock, request.mode, request.patience);
    return acquired == flock::Acquired::yes ? cli::kDone : say_busy(arguments, acquired);
  }
  const flock::Hold hold = flock::hold(request);
  if (hold.acquired != flock::Acquired::yes) return say_busy(arguments, hold.acquired);
  for (const auto& warning : hold.warnings)
    cli::say(cli::Level::warning, warning);
  cli::say(cli::Level::detail, fmt::format("'{}' is held on descriptor {}{}", hold.path,
                                           hold.fd.get(), hold.nested ? ", inherited" : ""));
  ::setenv("DROVER_LOCK", hold.path.c_str(), 1);
  ::setenv("DROVER_LOCK_FD", std::to_string(hold.fd.get()).c_str(), 1);
  if (arguments.new_generation && arguments.pidfile) remove_pidfiles(*arguments.pidfile);
  if (arguments.guard) return stay_as_guard(arguments.command);
  become_command(arguments);
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::run_main(drover::kDescription, [&] { return drover::run(argc, argv); });
}
