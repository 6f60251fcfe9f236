// drover-ctl: talk to a running herd, or a manager of companions.
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/control/client.h"
#include "lib/os/signals.h"
#include "tools/ctl_output.h"

namespace drover {
namespace {

using control::Client;
using control::Json;

const cli::Description kDescription{
    .name = "drover-ctl",
    .synopsis = "[OPTIONS] COMMAND [NAME] [SIG]",
    .summary =
        "Ask a running herd or companion manager, and wait until it is done. COMMAND:\n"
        "  status reload stop signal holders events timeline\n"
        "  start restart reread why reopen release shutdown",
    .examples = {"drover-ctl -p /run/app/app.pid reload && echo 'the new code serves'",
                 "drover-ctl -p /run/app/app.pid status --json | jq '.generations[].master'",
                 "etcdctl lock deploy -- drover-ctl -p /run/app/app.pid reload"},
    .quiet = "Say no steps, only errors and warnings",
    .verbose = "Say which socket is asked, too",
};

enum class Word { none, optional, needed };

/// A command of the command line. A server may know fewer.
struct Command {
  const char* name;
  const char* what;     ///< as in "cannot WHAT 'SUBJECT'"
  bool changes = true;  ///< the server goes on with it when nobody waits any more
  Word word = Word::none;
};

constexpr Command kCommands[] = {
    {"status", "show the status of", false, Word::optional},
    {"reload", "reload"},
    {"stop", "stop", true, Word::optional},
    {"signal", "signal", true, Word::needed},
    {"start", "start", true, Word::needed},
    {"restart", "restart", true, Word::needed},
    {"reread", "read again the companions of"},
    {"why", "explain", false, Word::optional},
    {"reopen", "open the logs anew of", true, Word::optional},
    {"release", "release the lock of", true, Word::needed},
    {"shutdown", "stop"},
    {"events", "follow", false},
    {"timeline", "show the last reload of", false},
    {"holders", "show the holders of", false},
};

/// JSON's numbers are exact up to here for everybody.
constexpr uint64_t kLargestSeq = uint64_t{1} << 53;

struct Arguments {
  std::string socket;
  Command command{};
  std::optional<std::string> name;
  std::optional<std::string> signal;
  std::optional<uint64_t> since;
  std::optional<std::chrono::nanoseconds> wait;
  os::Deadline deadline;
  bool json = false;
  bool trace = false;
  bool dry_run = false;
  bool kill = false;
  bool group = false;

  [[nodiscard]] bool is(std::string_view word) const { return word == command.name; }
  [[nodiscard]] const std::string& subject() const { return name ? *name : socket; }
};

Command command_of(const std::string& word) {
  const auto* const found =
      std::find_if(std::begin(kCommands), std::end(kCommands),
                   [&](const Command& command) { return word == command.name; });
  if (found == std::end(kCommands)) throw cli::UsageError(fmt::format("'{}' is no command", word));
  return *found;
}

/// A server's master needs no name: "signal SIG", "signal NAME SIG".
void read_signal(std::vector<std::string>& words, Arguments& arguments) {
  if (words.size() < 2) throw cli::UsageError("signal needs a SIG");
  const auto number = os::parse_signal(words.back());
  if (!number) throw cli::UsageError(fmt::format("'{}' is no signal", words.back()));
  arguments.signal = os::signal_name(*number);
  words.pop_back();
}

void read_words(std::vector<std::string> words, Arguments& arguments) {
  if (words.empty()) throw cli::UsageError("a COMMAND is needed");
  arguments.command = command_of(words[0]);
  const bool is_signal = arguments.is("signal");
  if (is_signal && words.size() <= 3) read_signal(words, arguments);
  if (words.size() == 1 && arguments.command.word == Word::needed && !is_signal)
    throw cli::UsageError(fmt::format("{} needs a NAME", words[0]));
  const size_t most = arguments.command.word == Word::none ? 1 : 2;
  if (words.size() > most)
    throw cli::UsageError(
        fmt::format("'{}' is too much for {}", words[is_signal ? 3 : most], words[0]));
  if (words.size() < 2) return;
  if (words[1].empty()) throw cli::UsageError("NAME is empty");
  arguments.name = words[1];
}

/// Options that go with one command only.
void refuse_strangers(const Arguments& arguments) {
  const auto refuse = [&](bool is_given, const char* option, const char* command) {
    if (is_given && !arguments.is(command))
      throw cli::UsageError(fmt::format("{} goes with {}", option, command));
  };
  refuse(arguments.trace, "--trace", "timeline");
  refuse(arguments.since.has_value(), "--since", "events");
  refuse(arguments.dry_run, "--dry-run", "reread");
  refuse(arguments.kill, "--kill", "release");
  refuse(arguments.group, "--group", "signal");
}

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  cli::Options options(kDescription);
  auto& app = options.app();
  std::optional<std::string> pidfile;
  auto* socket = app.add_option("-s,--socket", arguments.socket, "The server's control socket")
                     ->type_name("SOCKET")
                     ->check(cli::not_empty());
  auto* service = app.add_option("-p,--pidfile", pidfile, "PIDFILE.sock is SOCKET");
  service->type_name("PIDFILE")->check(cli::is_pidfile_name())->excludes(socket);
  options.add_duration("-w,--wait", arguments.wait, "Wait at most TIME for the end");
  auto* json = app.add_flag("--json", arguments.json, "Write the server's answer as JSON");
  app.add_flag("--trace", arguments.trace, "timeline: write Chrome's trace events")->excludes(json);
  app.add_option("--since", arguments.since, "events: begin behind number SEQ, not now")
      ->type_name("SEQ")
      ->transform(cli::decimal())
      ->check(CLI::Range(uint64_t{0}, kLargestSeq));
  app.add_flag("--dry-run", arguments.dry_run, "reread: say what would change");
  app.add_flag("--kill", arguments.kill, "release: end those who keep the lock");
  app.add_flag("--group", arguments.group, "signal: the companion's whole process group");
  options.allow_names();
  if (!options.parse(argc, argv)) return false;
  for (const auto* option : {socket, service})
    if (option->count() > 1)
      throw cli::UsageError(fmt::format("{} is given more than once", option->get_name()));
  read_words(options.names(), arguments);
  refuse_strangers(arguments);
  const char* variable = std::getenv("DROVER_SOCKET");
  if (pidfile) {
    arguments.socket = *pidfile + ".sock";
  } else if (arguments.socket.empty() && variable != nullptr) {
    arguments.socket = variable;
  }
  if (arguments.socket.empty()) throw cli::UsageError("-s, -p or DROVER_SOCKET is needed");
  if (arguments.wait)
    arguments.deadline =
        std::chrono::steady_clock::now() +
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(*arguments.wait);
  return true;
}

Json request_of(const Arguments& arguments) {
  Json request = {{"command", arguments.command.name}};
  if (arguments.name) request["name"] = *arguments.name;
  if (arguments.signal) request["signal"] = *arguments.signal;
  if (arguments.since) request["since"] = *arguments.since;
  if (arguments.dry_run) request["dry_run"] = true;
  if (arguments.kill) request["kill"] = true;
  if (arguments.group) request["group"] = true;
  return request;
}

void print(const std::string& text) {
  fmt::print("{}", text);
  if (std::fflush(stdout) != 0) throw Error(errno, "write to", "standard output");
}

void show_event(const Arguments& arguments, const Json& event) {
  if (arguments.is("events")) {
    print(arguments.json ? control::as_line(event) : ctl::event_text(event) + "\n");
    return;
  }
  const std::string name = ctl::text(event, "name");
  cli::say(cli::Level::notice,
           fmt::format("{}: {}", name.empty() ? ctl::text(event, "event") : name,
                       ctl::text(event, "text")));
}

size_t terminal_width() {
  winsize size{};
  const bool is_terminal = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return is_terminal ? std::clamp<size_t>(size.ws_col, 40, 200) : 80;
}

int show_timeline(const Arguments& arguments, const Json& answer) {
  const Json& reload = ctl::member(answer, "reload");
  if (!reload.is_object()) {
    cli::say(cli::Level::notice, "there was no reload yet");
    return cli::kNo;
  }
  print(arguments.trace ? ctl::trace(reload) : ctl::bars(reload, terminal_width()));
  return cli::kDone;
}

int show_answer(const Arguments& arguments, const Json& answer) {
  const Json& ok = answer.at("ok");
  if (!ok.is_boolean())
    throw Error::because(EBADMSG, "understand", arguments.socket, "'ok' is neither true nor false");
  const Json& reload = ctl::member(answer, "reload");
  if (arguments.json) print(control::as_line(answer));
  if (ok == true) {
    if (arguments.is("timeline") && !arguments.json) return show_timeline(arguments, answer);
    if (!arguments.json) print(ctl::as_text(answer));
    return cli::kDone;
  }
  if (!arguments.json && reload.is_object()) print(ctl::verdict(reload) + "\n");
  std::string reason = ctl::text(answer, "reason");
  if (reason.empty()) reason = ctl::text(answer, "message");
  if (reason.empty()) reason = "the server gives no reason";
  cli::say(cli::Level::error,
           fmt::format("cannot {} '{}': {}", arguments.command.what, arguments.subject(), reason));
  if (const Json& output = ctl::member(reload, "output"); output.is_array())
    for (const Json& line : output)
      if (line.is_string())
        cli::say(cli::Level::error, "the successor wrote: " + line.get<std::string>());
  return cli::kNo;
}

int give_up(const Arguments& arguments) {
  if (arguments.is("events")) return cli::kDone;
  const auto waited = ctl::time_text(std::chrono::duration<double>(*arguments.wait).count());
  cli::say(cli::Level::error, arguments.command.changes
                                  ? fmt::format("gave up waiting after {}: the {} goes on", waited,
                                                arguments.command.name)
                                  : fmt::format("gave up waiting for an answer after {}", waited));
  return cli::kNo;
}

int ask(const Arguments& arguments) {
  cli::say(cli::Level::detail, fmt::format("asking '{}'", arguments.socket));
  Client client(arguments.socket, arguments.deadline);
  client.send(request_of(arguments), arguments.deadline);
  for (;;) {
    const auto line = client.next(arguments.deadline);
    if (line.got == Client::Got::nothing) return give_up(arguments);
    if (line.got == Client::Got::end) {
      cli::say(cli::Level::error, fmt::format("cannot {} '{}': the server has hung up",
                                              arguments.command.what, arguments.subject()));
      return cli::kNo;
    }
    if (line.final()) return show_answer(arguments, line.object);
    show_event(arguments, line.object);
    if (arguments.deadline && std::chrono::steady_clock::now() >= *arguments.deadline)
      return give_up(arguments);
  }
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  try {
    return ask(arguments);
  } catch (const Error& error) {
    if (error.err() != ETIMEDOUT) throw;
    cli::say(cli::Level::error, error.what());
    return cli::kNo;
  }
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::run_main(drover::kDescription, [&] { return drover::run(argc, argv); });
}
