#include "lib/environ/launch.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

#include "lib/environ/command.h"
#include "lib/environ/logical_path.h"
#include "lib/environ/record.h"
#include "lib/environ/small_file.h"
#include "lib/os/error.h"
#include "lib/os/spawn.h"

namespace drover::environ {
namespace {

constexpr const char* kArguments = "DROVER_ARGS";

class Launcher {
 public:
  Launcher(const Launch& launch, Block& block, Edit& edit, Trust& trust, Plan& plan)
      : launch_(launch), block_(block), edit_(edit), trust_(trust), plan_(plan) {}

  void choose() {
    add_checks();
    std::vector<std::string> words = own_command();
    if (words.size() > 1 && !launch_.wrapper.path.empty())
      block_.set(kArguments, pack_words({words.begin() + 1, words.end()}));
    const auto arguments = new_arguments();
    words.insert(words.end(), arguments.begin(), arguments.end());
    if (launch_.wrapper.ruby_follows) {
      run_ourselves_as_ruby();
    } else if (launch_.bundle == Bundle::exec) {
      run_by_bundle_exec(words);
    } else {
      run(words);
    }
    trust(plan_.program);
    edit_.chose("command", plan_.program,
                launch_.wrapper.path.empty() ? "command line" : launch_.wrapper.path);
    warn_of_another_python();
  }

 private:
  /// That each interpreter starts, ruby with the bundle.
  void add_checks() {
    if (launch_.node.kind != Choice::Kind::none)
      plan_.checks.push_back({program_of(launch_.node), "-e", "0"});
    if (launch_.python.kind != Choice::Kind::none)
      plan_.checks.push_back({program_of(launch_.python), "-c", "0"});
    if (launch_.ruby.kind == Choice::Kind::none) return;
    plan_.checks.push_back({program_of(launch_.ruby)});
    if (launch_.bundle != Bundle::none) plan_.checks.back().emplace_back("-rbundler/setup");
    plan_.checks.back().insert(plan_.checks.back().end(), {"-e", "0"});
  }

  std::string program_of(const Choice& choice) {
    const Language language = choice.installation.language;
    if (choice.kind == Choice::Kind::system) {
      const std::string name(language == Language::python ? "python3" : to_string(language));
      std::string program = find(name);
      trust(program);
      return program;
    }
    return interpreter_of(language, choice.installation.prefix);
  }
  std::string ruby_program() { return program_of(launch_.ruby); }

  /// A program that the wrapper runs, whether by itself or by an interpreter.
  void trust(const std::string& program) {
    if (!launch_.wrapper.path.empty()) trust_.check_way(program);
  }

  [[nodiscard]] std::string find(const std::string& name) const {
    std::vector<os::FileId> ourselves;
    for (const std::string& path : {launch_.wrapper.path, std::string("/proc/self/exe")})
      if (const auto id = file_behind(path)) ourselves.push_back(*id);
    const std::string& folder = plan_.folder.empty() ? launch_.caller.folder : plan_.folder;
    return find_program(name, block_.value("PATH"), folder, ourselves);
  }

  /// The bundle is set up without a "bundle exec" in front, and with it the server would remember
  /// Bundler's file, not the wrapper.
  [[nodiscard]] std::vector<std::string> own_command() const {
    const auto& words = launch_.wrapper.command;
    if (launch_.wrapper.path.empty() || launch_.wrapper.ruby_follows) return words;
    if (words.empty() || words[0].empty())
      throw Error::because(EBADMSG, "use wrapper", launch_.wrapper.path, "it has no command");
    const bool says_exec = launch_.bundle != Bundle::none && words.size() > 2 &&
                           words[0] == "bundle" && words[1] == "exec" && !words[2].starts_with('-');
    return {words.begin() + (says_exec ? 2 : 0), words.end()};
  }

  /// Who runs the program, be it a python itself, by its first line, or by env(1) there. May be
  /// empty.
  [[nodiscard]] std::string python_of(const std::string& program) const {
    const auto is_python = [](const std::string& name) {
      return name.substr(name.rfind('/') + 1).starts_with("python");
    };
    if (is_python(program)) return program;
    const std::string name = interpreter_word(program);
    if (!is_python(name)) return {};
    return name.find('/') == std::string::npos ? find_script(name, true) : name;
  }

  /// A program of the system's python runs by that one, whatever stands first in PATH.
  void warn_of_another_python() {
    const std::string& prefix = launch_.python.installation.prefix;
    const std::string interpreter = prefix.empty() ? "" : python_of(plan_.program);
    if (interpreter.empty()) return;
    const std::string chosen = interpreter_of(Language::python, prefix);
    const auto folder = file_behind(interpreter.substr(0, interpreter.rfind('/')));
    const bool is_environment = exists(prefix + "/pyvenv.cfg");  // else a link is as good
    if (folder == file_behind(prefix + "/bin") ||
        (!is_environment && file_behind(interpreter) == file_behind(chosen)))
      return;
    plan_.other_python = interpreter;
    edit_.warn(plan_.program, plan_.program == interpreter
                                  ? fmt::format("it is not the python of '{}'", prefix)
                                  : fmt::format("it runs by '{}', not by the python of '{}': "
                                                "install it there too",
                                                interpreter, prefix));
  }

  /// A server that executes the wrapper anew hands back all of its arguments, the wrapper's own
  /// ones in front: those of that generation, which are remembered, as the file may be another by
  /// now. The first of them may have been another program's, such as env(1)'s.
  [[nodiscard]] std::vector<std::string> new_arguments() const {
    const Block& inherited = launch_.caller.environment;
    if (launch_.wrapper.path.empty() || inherited.value("DROVER_WRAPPER") != launch_.wrapper.path)
      return launch_.arguments;
    const auto remembered = unpack_words(inherited.value(kArguments));
    for (auto own = remembered.begin(); own != remembered.end(); ++own) {
      const auto count = remembered.end() - own;
      if (count <= std::ssize(launch_.arguments) &&
          std::equal(own, remembered.end(), launch_.arguments.begin()))
        return {launch_.arguments.begin() + count, launch_.arguments.end()};
    }
    return launch_.arguments;
  }

  void run_ourselves_as_ruby() {
    if (launch_.ruby.kind == Choice::Kind::none)
      throw Error::because(ENOPKG, "run", launch_.wrapper.path, "the wrapper chooses no ruby",
                           "ruby = \"auto\" or \"system\"");
    plan_.program = ruby_program();
    plan_.arguments = {plan_.program};
    if (launch_.bundle == Bundle::setup) plan_.arguments.emplace_back("-rbundler/setup");
    plan_.arguments.push_back(launch_.wrapper.path);
    plan_.arguments.insert(plan_.arguments.end(), launch_.arguments.begin(),
                           launch_.arguments.end());
    edit_.set("DROVER_STAGE2", "1");
  }

  /// A ruby script is run by the ruby that was chosen, with the bundle loaded. Everything else is
  /// executed as it is.
  void run(const std::vector<std::string>& words) {
    const auto slash = words[0].rfind('/');
    const bool by_name = slash == std::string::npos;
    const bool in_bundle = launch_.bundle == Bundle::setup &&
                           !(by_name && (words[0] == "bundle" || words[0] == "gem"));
    const std::string program = find_script(words[0], in_bundle && by_name);
    if (!program.empty()) trust(program);
    const bool own_program = is_in(program, launch_.ruby.installation.prefix);
    if (launch_.ruby.kind == Choice::Kind::none || (!program.empty() && !is_ruby_script(program)) ||
        (!in_bundle && (own_program || launch_.ruby.kind == Choice::Kind::system) &&
         !keeps_title(words[0]))) {
      run_as_it_is(program, words);
      return;
    }
    plan_.program = ruby_program();
    plan_.arguments = {plan_.program};
    if (in_bundle) plan_.arguments.emplace_back("-rbundler/setup");
    const bool load = keeps_title(words[0]) || (in_bundle && by_name);
    if (load) {
      const std::string title = keeps_title(words[0]) ? launch_.wrapper.path : "";
      const auto start = loading_words(title, by_name ? words[0] : "", program);
      plan_.arguments.insert(plan_.arguments.end(), start.begin(), start.end());
      if (in_bundle && by_name)
        plan_.checks.push_back({plan_.program, "-rbundler/setup", "-e", kFind, words[0], program});
    } else {
      plan_.arguments.push_back(program);
    }
    plan_.arguments.insert(plan_.arguments.end(), words.begin() + 1, words.end());
  }

  void run_by_bundle_exec(const std::vector<std::string>& words) {
    const std::string bundle = find("bundle");
    trust(bundle);
    plan_.program = ruby_program();
    plan_.arguments = {plan_.program, bundle, "exec"};
    plan_.arguments.insert(plan_.arguments.end(), words.begin(), words.end());
    if (words[0].starts_with('-')) return;  // an option of Bundler's
    const std::string program = find_script(words[0], words[0].find('/') == std::string::npos);
    if (!program.empty()) trust(program);
    plan_.checks.push_back({plan_.program, "-rbundler/setup", "-e", kFind, words[0], program});
  }

  /// What is no ruby script gets the bundle for the rubies that it starts, as from `bundle exec`.
  void run_as_it_is(const std::string& program, const std::vector<std::string>& words) {
    plan_.program = program;
    plan_.arguments = words;
    if (launch_.bundle != Bundle::setup || launch_.wrapper.path.empty()) return;
    if (file_behind(program) == file_behind(ruby_program())) {
      plan_.arguments.insert(plan_.arguments.begin() + 1, "-rbundler/setup");
    } else if (words[0] != "bundle" && words[0] != "gem") {
      const std::string more = block_.value("RUBYOPT");
      edit_.because("bundle");
      edit_.set("RUBYOPT", "-rbundler/setup" + (more.empty() ? "" : " " + more));
    }
  }

  /// Empty when only the bundle may have it.
  [[nodiscard]] std::string find_script(const std::string& name, bool perhaps_in_bundle) const {
    try {
      return find(name);
    } catch (const os::ExecError& error) {
      if (!perhaps_in_bundle || error.err() != ENOENT) throw;
      return {};
    }
  }

  /// unicorn executes itself anew by its $0: that is to be the wrapper.
  [[nodiscard]] bool keeps_title(const std::string& command) const {
    const std::string name = command.substr(command.rfind('/') + 1);
    return !launch_.wrapper.path.empty() &&
           (name == "unicorn" || name == "unicorn_rails" || name == "rainbows");
  }

  const Launch& launch_;
  Block& block_;
  Edit& edit_;
  Trust& trust_;
  Plan& plan_;
};

}  // namespace

void choose_command(const Launch& launch, Block& block, Edit& edit, Trust& trust, Plan& plan) {
  Launcher(launch, block, edit, trust, plan).choose();
}

}  // namespace drover::environ
