// drover-herd: stay in the foreground for a supervisor, run the server, hot-reload it, roll back
// when the new code is broken.
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>

#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/flock/hold.h"
#include "lib/herd/herd.h"
#include "lib/os/fd.h"
#include "lib/os/signals.h"
#include "tools/herd_companions.h"
#include "tools/herd_dropin.h"

namespace drover {
namespace {

const cli::Description kDescription{
    .name = "drover-herd",
    .synopsis = "[OPTIONS] --pidfile PIDFILE [--] COMMAND [ARG...]",
    .summary = "Run a server that hot-reloads; stay in the foreground for a supervisor.",
    .examples = {"drover-herd --pidfile /run/app/app.pid unicorn -c unicorn.rb",
                 "drover-herd -p nginx.pid --check 'nginx -t' nginx -c /etc/nginx/nginx.conf",
                 "kill -HUP PID_OF_HERD    # or: drover-ctl -p /run/app/app.pid reload"},
};

using Duration = std::optional<std::chrono::nanoseconds>;

struct Arguments {
  herd::HerdRequest herd;
  DropIn drop_in;
  std::optional<std::string> pidfile, lock, control, companions;
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
  words.reserve(choices.size());
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
             "How it hot-reloads: unicorn, nginx, puma ... (auto)", "NAME");
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
  options.add_duration("-o,--overlap", arguments.overlap, "Keep both generations for TIME (0)");
  add_choice<herd::Retire>(app, "--retire", reload.retire,
                           {{"all", herd::Retire::all}, {"one-by-one", herd::Retire::one_by_one}},
                           "How the old generation goes (all)");
  options.add_duration("--drain-timeout", arguments.drain,
                       "Cut the old generation's requests off after TIME (5m)");
}

/// unicornherder's, which only crowd the help of drover-herd.
void add_drop_in_options(cli::Options& options, Arguments& arguments, bool shown) {
  auto& app = options.app();
  DropIn& drop_in = arguments.drop_in;
  const std::string group = shown ? "Options" : "";
  app.add_option("-u,--unicorn", drop_in.type, "Which server to run, as a daemon (gunicorn)")
      ->type_name("TYPE")
      ->check(CLI::IsMember(herder_types()))
      ->group(group);
  app.add_option("-b,--unicorn-bin", drop_in.unicorn_bin, "The unicorn to run")
      ->type_name("PATH")
      ->check(cli::not_empty())
      ->group(group);
  app.add_option("-g,--gunicorn-bin", drop_in.gunicorn_bin, "The gunicorn to run")
      ->type_name("PATH")
      ->check(cli::not_empty())
      ->group(group);
  options.add_duration("--timeout", arguments.boot, "As --boot-timeout")->group(group);
}

bool read_arguments(int argc, char** argv, const cli::Description& description,
                    Arguments& arguments) {
  cli::Options options(description);
  auto& app = options.app();
  herd::HerdRequest& herd = arguments.herd;
  options.stop_at_first_word();
  app.add_option("-p,--pidfile", arguments.pidfile, "Where the server writes its master's number")
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
  app.add_option("--companions", arguments.companions, "Run the companions of FILE beside it")
      ->type_name("FILE")
      ->check(cli::not_empty());
  app.add_option("--trace", herd.trace, "Append reloads to FILE, for chrome://tracing")
      ->type_name("FILE")
      ->check(cli::not_empty());
  options.add_duration("-t,--boot-timeout", arguments.boot,
                       "How long the first start may take (30s)");
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
  add_drop_in_options(options, arguments, description.name != kDescription.name);
  if (!options.parse(argc, argv)) return false;
  herd.command = options.words();
  if (!herd.command.empty() && herd.command.front() == "--")
    herd.command.erase(herd.command.begin());
  return true;
}

void complete(Arguments& arguments) {
  herd::HerdRequest& herd = arguments.herd;
  if (arguments.drop_in.wanted()) {
    if (!arguments.pidfile) arguments.pidfile = herder_pidfile(arguments.drop_in);
    herd.command =
        herder_command(arguments.drop_in, os::absolute(*arguments.pidfile), herd.command);
  }
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
  const std::string socket = os::absolute(herd.control.empty() ? beside : herd.control);
  if (arguments.companions) herd.company = company_of(*arguments.companions, socket);

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
  // A reader of our messages that has gone must not end the herd. Blocked, not ignored: that the
  // server would inherit, and the mask it gets is the one of before.
  const sigset_t pipe = os::signal_set({SIGPIPE});
  ::pthread_sigmask(SIG_BLOCK, &pipe, &herd.mask);
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

/// The program under unicornherder's name: what it does without options.
void become_unicornherder(Arguments& arguments) {
  if (!arguments.drop_in.wanted()) arguments.drop_in.type = "gunicorn";
  if (!arguments.overlap) arguments.overlap = std::chrono::seconds(30);
  const char* level = std::getenv("UNICORNHERDER_LOGLEVEL");
  std::string name = level == nullptr ? "" : level;
  for (char& letter : name)
    letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  if (name == "DEBUG") cli::set_verbosity(cli::Verbosity::verbose);
  for (const char* quiet : {"WARN", "WARNING", "ERROR", "CRITICAL", "FATAL"})
    if (name == quiet) cli::set_verbosity(cli::Verbosity::quiet);
}

int run(int argc, char** argv, const cli::Description& description) {
  const bool drop_in = description.name != kDescription.name;
  if (drop_in) read_v_as_version(argc, argv);
  Arguments arguments;
  if (!read_arguments(argc, argv, description, arguments)) return cli::kDone;
  if (drop_in) become_unicornherder(arguments);
  complete(arguments);
  look_around(arguments.herd);
  return code_of(herd::run(arguments.herd,
                           {[](const std::string& text) { cli::say(cli::Level::notice, text); },
                            [](const std::string& text) { cli::say(cli::Level::warning, text); }}));
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::Description description = drover::kDescription;
  if (drover::is_unicornherder(argv[0])) {
    description.name = "unicornherder";
    description.synopsis = "[OPTIONS] [-- ARG...]";
    description.examples = {"unicornherder -- -w 4 myapp:app", "unicornherder -u unicorn"};
    description.more = "drover-herd(1)";
  }
  drover::cli::run_main(description, [&] { return drover::run(argc, argv, description); });
}
