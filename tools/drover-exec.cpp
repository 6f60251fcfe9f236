// drover-exec: rebuild a clean interpreter environment, then become the command.
#include <fmt/core.h>
#include <unistd.h>

#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/environ/logical_path.h"
#include "lib/environ/plan.h"
#include "lib/environ/release.h"
#include "lib/environ/trust.h"
#include "lib/os/users.h"
#include "tools/exec_hooks.h"
#include "tools/exec_modes.h"

namespace drover {
namespace {

cli::Description description{
    .name = "drover-exec",
    .synopsis = "WRAPPER [ARG...]\n       drover-exec [OPTIONS] -- COMMAND [ARG...]",
    .summary =
        "Give a command the ruby, python or node that its project asks for, in a clean\n"
        "environment, and become it. WRAPPER begins #!/usr/bin/drover-exec.",
    .examples = {"/srv/app/current/bin/unicorn -D      # a wrapper, run by the kernel's #!",
                 "drover-exec -- bundle exec rake db:migrate",
                 "drover-exec --explain bin/unicorn    # what it would do, and why",
                 "drover-exec --diff $(cat app.pid) bin/unicorn   # what a reload would change"},
    .wrapper = true,
    .verbose = "Say each decision, then run the command",
};

struct Arguments {
  bool explain = false;
  bool check = false;
  std::optional<int> diff;
  std::optional<std::string> hook;
  std::optional<std::string> script;  ///< to import
  exec::Style style;
  environ::Wrapper wrapper;  ///< what the options say
  std::vector<std::string> words;
  bool prefix = false;  ///< the words are a command, not a wrapper
};

void add_interpreter(CLI::App& app, const std::string& name, environ::Setting& setting) {
  app.add_option_function<std::string>(
         "--" + name,
         [&setting, name](const std::string& value) {
           setting = {value, "--" + name};
         },
         fmt::format("The {}: auto, a version, MANAGER:VERSION, a folder, system, none", name))
      ->type_name("SPEC")
      ->check(cli::not_empty());
}

void add_options(CLI::App& app, Arguments& arguments) {
  auto* explain = app.add_flag("--explain", arguments.explain,
                               "Show each decision with its reason, run nothing");
  auto* diff =
      app.add_option("--diff", arguments.diff, "Show what a reload of process PID would change")
          ->type_name("PID")
          ->transform(cli::decimal())
          ->check(CLI::Range(1, 1 << 22));
  auto* check =
      app.add_flag("--check", arguments.check, "Check that it would run: for a deployment");
  auto* import = app.add_option("--import", arguments.script,
                                "Source a shell script once, print its changes for a wrapper");
  import->type_name("SCRIPT")->check(cli::not_empty());
  auto* hook =
      app.add_option("--print-hook", arguments.hook, "Print what SERVER's configuration needs");
  hook->type_name("SERVER")->check(cli::not_empty());
  hook->excludes(import)->excludes(explain)->excludes(diff)->excludes(check);
  import->excludes(explain)->excludes(diff)->excludes(check);
  app.add_flag("--json", arguments.style.json, "With --explain: write one JSON object")
      ->needs(explain);
  app.add_flag("--show-secrets", arguments.style.secrets, "Do not mask what looks like a secret");
  explain->excludes(diff)->excludes(check);
  diff->excludes(check);
  add_interpreter(app, "ruby", arguments.wrapper.ruby);
  add_interpreter(app, "python", arguments.wrapper.python);
  add_interpreter(app, "node", arguments.wrapper.node);
  app.add_option("--app", arguments.wrapper.app, "The application's folder (the current one)")
      ->type_name("DIR")
      ->check(cli::not_empty());
  app.add_flag("--insecure-paths", arguments.wrapper.insecure_paths,
               "Use interpreters and files that others could change");
}

/// Before anything else is read: what a wrong command line exits with depends on it.
bool asks_to_show(int argc, char** argv) {
  for (int at = 1; at < argc && argv[at][0] == '-' && std::string_view(argv[at]) != "--"; ++at) {
    const std::string_view word = argv[at];
    for (const std::string_view mode :
         {"--explain", "--check", "--diff", "--import", "--print-hook"})
      if (word.starts_with(mode)) return true;
    for (const std::string_view with_value : {"--ruby", "--python", "--node", "--app"})
      if (word == with_value) ++at;
  }
  return false;
}

bool read_arguments(int argc, char** argv, Arguments& arguments) {
  // A wrapper comes first, and nothing behind it is an option.
  if (argc > 1 && argv[1][0] != '-' && argv[1][0] != '\0') {
    arguments.words.assign(argv + 1, argv + argc);
    return true;
  }
  cli::Options options(description);
  options.stop_at_first_word();
  add_options(options.app(), arguments);
  description.wrapper = !asks_to_show(argc, argv);
  if (!options.parse(argc, argv)) return false;
  arguments.words = options.words();
  if (arguments.hook || arguments.script) {
    if (arguments.words.empty()) return true;
    throw cli::UsageError(fmt::format("'{}' is one word too many", arguments.words[0]));
  }
  if (arguments.words.empty()) throw cli::UsageError("a WRAPPER, or -- and a COMMAND, is needed");
  arguments.prefix = arguments.words[0] == "--";
  if (arguments.prefix) arguments.words.erase(arguments.words.begin());
  if (arguments.prefix && arguments.words.empty()) throw cli::UsageError("a COMMAND is needed");
  if (!arguments.prefix && arguments.words[0].starts_with('-'))
    throw cli::UsageError(fmt::format("'{}' is no option", arguments.words[0]));
  const environ::Wrapper& said = arguments.wrapper;
  if (!arguments.prefix &&
      !(said.ruby.value + said.python.value + said.node.value + said.app).empty())
    throw cli::UsageError(
        "--ruby, --python, --node and --app go with a COMMAND; a wrapper says its own");
  return true;
}

std::string home_of(const environ::Block& environment, uid_t user) {
  const std::string named = environment.value("HOME");
  return named.starts_with('/') ? named : os::home_of(user);
}

environ::Caller caller_of_now() {
  environ::Caller caller;
  caller.environment = environ::Block(::environ);
  caller.home = home_of(caller.environment, ::geteuid());
  caller.folder = environ::logical_folder(caller.environment);
  caller.pid = ::getpid();
  return caller;
}

/// A command without a wrapper: the project's version files count where there are any.
environ::Plan plan_of_command(environ::Wrapper wrapper, const std::vector<std::string>& words,
                              const environ::Caller& caller) {
  wrapper.folder = "keep";
  wrapper.app =
      wrapper.app.empty() ? caller.folder : environ::logical_path(wrapper.app, caller.folder);
  if (wrapper.app.empty() || ::access((wrapper.app + "/.").c_str(), X_OK) != 0)
    throw Error(wrapper.app.empty() ? ENOENT : errno, "use folder", wrapper.app);
  for (auto* setting : {&wrapper.ruby, &wrapper.python, &wrapper.node})
    if (setting->value.empty()) *setting = {"detect", "default"};
  return environ::make_plan(wrapper, words, caller);
}

environ::Plan plan_of_wrapper(const Arguments& arguments, const environ::Caller& caller) {
  return environ::make_plan_of_file(environ::logical_path(arguments.words[0], caller.folder),
                                    {arguments.words.begin() + 1, arguments.words.end()}, caller,
                                    arguments.wrapper.insecure_paths);
}

int print_hook(const std::string& server) {
  const std::string text = exec::hook_for(server);
  if (text.empty())
    throw cli::UsageError(
        fmt::format("no hook for '{}'; there are unicorn, gunicorn and puma", server));
  fmt::print("{}", text);
  return cli::kDone;
}

/// What a server was started by is what it executes in a reload.
void say_other_start(int pid, const environ::Block& environment, const std::string& wrapper) {
  const std::string started_by = environment.value("DROVER_WRAPPER");
  if (started_by == wrapper) return;
  cli::say(cli::Level::warning,
           fmt::format("process {} was not started by '{}'{} and will not execute it in a reload: "
                       "stop and start it once",
                       pid, wrapper,
                       started_by.empty() ? "" : fmt::format(", but by '{}',", started_by)));
}

int run(int argc, char** argv) {
  environ::refuse_elevated();
  Arguments arguments;
  if (!read_arguments(argc, argv, arguments)) return cli::kDone;
  if (arguments.hook) return print_hook(*arguments.hook);
  environ::Caller caller = caller_of_now();
  if (arguments.script)
    return exec::import_script(*arguments.script, caller, arguments.wrapper.insecure_paths);
  if (arguments.diff) {
    caller.environment = exec::environment_of(*arguments.diff);
    caller.home = home_of(caller.environment, exec::owner_of(*arguments.diff));
  }
  environ::Plan plan = arguments.prefix
                           ? plan_of_command(arguments.wrapper, arguments.words, caller)
                           : plan_of_wrapper(arguments, caller);
  if (arguments.diff) {
    if (!arguments.prefix) say_other_start(*arguments.diff, caller.environment, plan.wrapper);
    if (!plan.lock.empty()) plan.environment.set("DROVER_LOCK", plan.lock);
    if (const auto* folder = caller.environment.find("PWD");
        plan.folder.empty() && folder != nullptr)
      plan.environment.set("PWD", *folder);  // where it works, not where this was asked
    const std::string text = exec::change_of_folder(*arguments.diff, plan) +
                             exec::diff(caller.environment, plan.environment, arguments.style);
    fmt::print("{}", text);
    return text.empty() ? cli::kDone : cli::kNo;
  }
  if (arguments.explain) {
    fmt::print("{}", exec::explain(plan, arguments.style));
    return cli::kDone;
  }
  if (arguments.check) return exec::check(plan);
  exec::say_steps(plan, arguments.style);
  exec::become(plan);
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::run_main(drover::description, [&] { return drover::run(argc, argv); });
}
