// drover-herd: stay in the foreground for a supervisor, run the server, hot-reload it, roll back
// when the new code is broken.
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdlib>

#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/flock/hold.h"
#include "lib/herd/herd.h"
#include "lib/os/signals.h"

namespace drover {
namespace {

const cli::Description kDescription{
    .name = "drover-herd",
    .synopsis = "[OPTIONS] --pidfile PIDFILE [--] COMMAND [ARG...]",
    .summary =
        "Run a server that hot-reloads, in the foreground: one stable process for a "
        "supervisor.",
    .examples = {"drover-herd --pidfile /run/app/app.pid unicorn -c unicorn.rb",
                 "drover-herd --pidfile app.pid --check 'nginx -t' nginx -c /etc/nginx/nginx.conf",
                 "kill -HUP PID_OF_HERD    # or: drover-ctl -p /run/app/app.pid reload"},
};

using Duration = std::optional<std::chrono::nanoseconds>;

struct Arguments {
  herd::HerdRequest herd;
  std::optional<std::string> pidfile, lock, control;
  Duration boot, settle, ready, overlap, drain, stop;
};

int read_signal(const std::string& text) {
  const auto number = os::parse_signal(text);
  if (!number) throw CLI::ValidationError(fmt::format("'{}' is no signal", text));
  return *number;
}

/// An option whose value is one of a few words.
template <class Choice>
void add_choice(CLI::App& app, const std::string& name, Choice& value,
                const std::vector<std::pair<std::string, Choice>>& choices, const std::string& text,
                std::string form = {}) {
  std::vector<std::string> words;
  for (const auto& choice : choices)
    words.push_back(choice.first);
  app.add_option_function<std::string>(
         name,
         [&value, choices, words](const std::string& word) {
           for (const auto& choice : choices)
             if (choice.first == word) {
               value = choice.second;
               return;
             }
           throw CLI::ValidationError(
               fmt::format("'{}' is none of {}", word, fmt::join(words, ", ")));
         },
         text)
      ->type_name(form.empty() ? fmt::format("{}", fmt::join(words, "|")) : std::move(form));
}

void add_dialect(CLI::App& app, const herd::Dialect*& dialect) {
  std::vector<std::pair<std::string, const herd::Dialect*>> choices{{"auto", nullptr}};
  for (const herd::Dialect& each : herd::dialects())
    choices.emplace_back(each.name, &each);
  add_choice(app, "--dialect", dialect, choices,
             "How it hot-reloads: unicorn, gunicorn, nginx, puma ... (auto)", "NAME");
}

void add_reload_options(cli::Options& options, Arguments& arguments) {
  auto& app = options.app();
  herd::ReloadOptions& reload = arguments.herd.reload;
  app.add_option("--check", reload.check, "Before a reload: a shell command that must succeed")
      ->type_name("CMD")
      ->check(cli::not_empty());
  app.add_option_function<std::vector<std::string>>(
         "--probe",
         [&reload](const std::vector<std::string>& texts) {
           for (const std::string& text : texts)
             reload.probes.push_back(herd::parse_probe(text));
         },
         "Must succeed, too: tcp:, unix:, http:, exec:; repeatable")
      ->type_name("PROBE")
      ->allow_extra_args(false);
  options.add_duration("--settle", arguments.settle, "How long its workers have to serve (1s)");
  options.add_duration("--ready-timeout", arguments.ready, "Roll back when it takes longer (60s)");
  options.add_duration("--overlap", arguments.overlap, "Keep both generations for TIME (0)");
  add_choice<herd::Retire>(app, "--retire", reload.retire,
                           {{"all", herd::Retire::all}, {"one-by-one", herd::Retire::one_by_one}},
                           "How the old generation goes (all)");
  options.add_duration("--drain-timeout", arguments.drain,
                       "Cut the old generation's requests off after TIME (5m)");
}

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  cli::Options options(kDescription);
  auto& app = options.app();
  herd::HerdRequest& herd = arguments.herd;
  options.stop_at_first_word();
  app.add_option("--pidfile", arguments.pidfile, "Where the server writes its master's number")
      ->type_name("PIDFILE")
      ->check(cli::is_pidfile_name());
  app.add_option("--lock", arguments.lock, "The lock (PIDFILE.lock)")
      ->type_name("LOCK")
      ->check(cli::not_empty());
  app.add_option("--control", arguments.control, "The control socket, or none (PIDFILE.sock)")
      ->type_name("SOCKET|none")
      ->check(cli::not_empty());
  add_dialect(app, herd.dialect);
  add_choice<herd::IfRunning>(app, "--if-running", herd.if_running,
                              {{"adopt", herd::IfRunning::adopt},
                               {"refuse", herd::IfRunning::refuse},
                               {"replace", herd::IfRunning::replace}},
                              "When the server runs already (adopt)");
  options.add_duration("--boot-timeout", arguments.boot, "How long the first start may take (30s)");
  add_reload_options(options, arguments);
  app.add_option_function<std::string>(
         "--stop-signal", [&](const std::string& text) { herd.stop_signal = read_signal(text); },
         "Pass TERM on as SIG")
      ->type_name("SIG");
  options.add_duration("--stop-timeout", arguments.stop, "Kill what is left after TIME (60s)");
  add_choice<herd::Orphans>(
      app, "--orphans", herd.orphans,
      {{"wait", herd::Orphans::wait}, {"term", herd::Orphans::term}, {"kill", herd::Orphans::kill}},
      "Workers whose master died (wait)");
  if (!options.parse(argc, argv)) return false;
  herd.command = options.words();
  if (!herd.command.empty() && herd.command.front() == "--")
    herd.command.erase(herd.command.begin());
  return true;
}

void complete(Arguments& arguments) {
  herd::HerdRequest& herd = arguments.herd;
  if (herd.command.empty()) throw cli::UsageError("a COMMAND is needed");
  if (!arguments.pidfile && !arguments.lock)
    throw cli::UsageError("--pidfile PIDFILE, or --lock LOCK, is needed");
  if (!arguments.pidfile && herd.dialect != herd::find_dialect("plain"))
    throw cli::UsageError("without --pidfile only --dialect plain can be followed");
  if (arguments.pidfile) herd.pidfile = os::absolute(*arguments.pidfile);
  herd.lock = arguments.lock ? os::absolute(*arguments.lock) : herd.pidfile + ".lock";
  const std::string beside = (arguments.pidfile ? herd.pidfile : herd.lock) + ".sock";
  herd.control = arguments.control.value_or(beside);
  if (herd.control == "none") herd.control.clear();

  const auto take = [](const Duration& given, std::chrono::nanoseconds& value) {
    if (given) value = *given;
  };
  take(arguments.boot, herd.boot_timeout);
  take(arguments.stop, herd.stop_timeout);
  take(arguments.settle, herd.reload.settle);
  take(arguments.ready, herd.reload.ready_timeout);
  take(arguments.overlap, herd.reload.overlap);
  take(arguments.drain, herd.reload.drain_timeout);
}

/// What the surroundings say; the library asks nobody.
void look_around(herd::HerdRequest& herd) {
  const auto value = [](const char* name) {
    const char* text = std::getenv(name);
    return std::string(text == nullptr ? "" : text);
  };
  herd.search_path = value("PATH");
  herd.first_free = flock::first_free_descriptor(std::getenv("LISTEN_FDS"));
  herd.supervisor = {value("NOTIFY_SOCKET"), value("WATCHDOG_USEC"), value("WATCHDOG_PID")};
  for (char** entry = ::environ; *entry != nullptr; ++entry)
    herd.environment.emplace_back(*entry);
  ::pthread_sigmask(SIG_SETMASK, nullptr, &herd.mask);
}

int code_of(const herd::HerdResult& result) {
  switch (result.end) {
    case herd::HerdResult::End::stopped:
      return cli::kDone;
    case herd::HerdResult::End::not_started: {
      const int code = result.launcher ? result.launcher->shell_code() : 0;
      return code != 0 ? code : cli::kNo;
    }
    case herd::HerdResult::End::died:
    case herd::HerdResult::End::refused:
      return cli::kNo;
  }
  return cli::kBug;
}

int run(int argc, char** argv) {
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  complete(arguments);
  look_around(arguments.herd);
  ::signal(SIGPIPE, SIG_IGN);  // a reader of our messages that has gone must not end the herd
  return code_of(herd::run(arguments.herd,
                           {[](const std::string& text) { cli::say(cli::Level::notice, text); },
                            [](const std::string& text) { cli::say(cli::Level::warning, text); }}));
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::run_main(drover::kDescription, [&] { return drover::run(argc, argv); });
}
