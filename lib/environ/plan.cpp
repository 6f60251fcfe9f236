#include "lib/environ/plan.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>

#include "lib/environ/capture.h"
#include "lib/environ/command.h"
#include "lib/environ/env_file.h"
#include "lib/environ/record.h"
#include "lib/environ/reset.h"
#include "lib/environ/resolve.h"
#include "lib/environ/trust.h"
#include "lib/os/error.h"
#include "lib/os/spawn.h"

namespace drover::environ {
namespace {

constexpr int kDeepest = 8;
constexpr auto kScriptLimit = std::chrono::seconds(10);
constexpr size_t kLongestWrapper = 256 << 10;

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

std::optional<os::FileId> file_behind(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;
  return os::id_of(st);
}

class Planner {
 public:
  Planner(const Wrapper& wrapper, const std::vector<std::string>& arguments, const Caller& caller)
      : wrapper_(wrapper),
        arguments_(arguments),
        caller_(caller),
        block_(caller.environment),
        edit_(block_, plan_.steps),
        trust_(edit_) {
    places_ = {caller.home, wrapper.app, caller.environment};
  }

  Plan make() {
    plan_.folder = wrapper_.folder == "keep" ? "" : wrapper_.folder;
    if (plan_.folder.empty() && wrapper_.folder != "keep" && !wrapper_.path.empty())
      plan_.folder = wrapper_.app;
    plan_.umask = wrapper_.umask;
    plan_.lock = wrapper_.lock;
    clean();
    const Block base = block_;
    choose_interpreters();
    source_scripts();
    add_variables();
    set_gem_home();
    add_to_path();
    choose_bundle();
    name_ourselves();
    choose_command();
    if (const std::string record = make_record(base, block_); !record.empty())
      block_.set(kRecordName, record);
    plan_.environment = std::move(block_);
    return std::move(plan_);
  }

 private:
  void clean() {
    if (wrapper_.clean == Clean::none) return;
    reset(edit_, places_);
    if (wrapper_.clean == Clean::strict) restrict_to(edit_, wrapper_.pass);
  }

  void trust(const std::string& path) {
    if (!wrapper_.insecure_paths) trust_.check_way(path);
  }

  void choose_interpreters() {
    choose_interpreter(Language::node, wrapper_.node);
    choose_interpreter(Language::python, wrapper_.python);
    ruby_ = choose_interpreter(Language::ruby, wrapper_.ruby);
  }

  Choice choose_interpreter(Language language, const Setting& setting) {
    Choice choice = choose(language, setting.value, setting.origin, places_);
    const std::string name(to_string(language));
    if (choice.kind == Choice::Kind::installed || choice.kind == Choice::Kind::prefix) {
      trust(interpreter_of(language, choice.installation.prefix));
      edit_.chose(name, choice.installation.prefix, choice.origin);
      enter(edit_, choice);
    } else if (choice.kind == Choice::Kind::system) {
      edit_.chose(name, "the system's", choice.origin);
    } else {
      return choice;
    }
    if (language != Language::ruby)
      plan_.checks.push_back({program_of(choice), language == Language::node ? "-e" : "-c", "0"});
    return choice;
  }

  void set_gem_home() {
    if (wrapper_.gem_home.empty()) return;
    edit_.because("gem_home");
    std::string home = wrapper_.gem_home;
    if (home == "chruby") {
      const std::string& version = ruby_.installation.version;
      const auto dash = version.find('-');
      const bool plain = dash == std::string::npos;
      home = fmt::format("{}/.gem/{}/{}", places_.home, plain ? "ruby" : version.substr(0, dash),
                         plain ? version : version.substr(dash + 1));
    }
    edit_.set("GEM_HOME", home);
    edit_.prepend("PATH", {home + "/bin"});
  }

  void set_from_file(const Variable& variable, const std::string& file) {
    const bool allowed = std::find(wrapper_.allow.begin(), wrapper_.allow.end(), variable.name) !=
                         wrapper_.allow.end();
    if (is_dangerous(variable.name) && !allowed)
      throw Error::because(EPERM, "set variable", variable.name,
                           fmt::format("'{}' may not decide what is executed", file),
                           "set it in the wrapper, or name it there in 'allow'");
    edit_.set(variable.name, variable.value);
  }

  void source_scripts() {
    for (const auto& script : wrapper_.scripts) {
      trust(script);
      const Captured captured = capture(script, block_, kScriptLimit);
      edit_.because(script);
      for (const auto& name : captured.unset)
        edit_.unset(std::string_view(name));
      for (const auto& [name, value] : captured.set)
        edit_.set(name, value);
      if (captured.umask_changed) edit_.warn(script, "the umask that it sets is not taken over");
      if (captured.folder_changed) edit_.warn(script, "its change of folder is not taken over");
    }
  }

  void add_variables() {
    for (const auto& folder : wrapper_.env_dirs) {
      trust(folder);
      const EnvDir found = read_env_dir(folder);
      edit_.because(folder);
      for (const auto& name : found.unset)
        edit_.unset(std::string_view(name));
      for (const auto& variable : found.variables)
        set_from_file(variable, folder);
    }
    for (const auto& file : wrapper_.env_files) {
      trust(file);
      edit_.because(file);
      for (const auto& variable : read_env_file(file))
        set_from_file(variable, file);
    }
    edit_.because("wrapper");
    for (const auto& name : wrapper_.unset)
      edit_.unset(std::string_view(name));
    for (const auto& [name, value] : wrapper_.env)
      edit_.set(name, value);
    for (const auto& [name, where] : wrapper_.secrets)
      set_secret(name, where);
  }

  /// The program gets the file's name, not the secret: that would be in /proc/PID/environ and in
  /// every child.
  void set_secret(const std::string& name, const std::string& where) {
    std::string path = where;
    if (where.starts_with("cred:"))
      path = block_.value("CREDENTIALS_DIRECTORY") + "/" + where.substr(5);
    if (!exists(path)) throw Error(errno, "use secret", fmt::format("{} ({})", name, path));
    edit_.set(name + "_FILE", path);
  }

  void add_to_path() {
    edit_.because("path");
    if (!wrapper_.path_front.empty()) edit_.prepend("PATH", wrapper_.path_front);
    if (wrapper_.path_back.empty()) return;
    auto parts = split_list(block_.value("PATH"));
    for (const auto& part : wrapper_.path_back)
      if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
    edit_.set("PATH", join_list(parts));
  }

  /// The Gemfile by the application's logical path: Bundler itself would pin the release that a
  /// link leads to now.
  std::string gemfile() const {
    if (!wrapper_.gemfile.empty()) return wrapper_.gemfile;
    const std::string usual = wrapper_.app + "/Gemfile";
    return !exists(usual) && exists(wrapper_.app + "/gems.rb") ? wrapper_.app + "/gems.rb" : usual;
  }

  void choose_bundle() {
    bundle_ = wrapper_.bundle;
    const std::string file =
        wrapper_.gemfile == "keep" ? places_.inherited.value("BUNDLE_GEMFILE") : gemfile();
    if (bundle_ == Bundle::automatic)
      bundle_ = ruby_.kind != Choice::Kind::none && exists(file) ? Bundle::setup : Bundle::none;
    if (bundle_ == Bundle::none) return;
    if (ruby_.kind == Choice::Kind::none)
      throw Error::because(ENOPKG, "use bundle in", wrapper_.app, "the wrapper chooses no ruby",
                           "ruby = \"auto\" or \"system\"");
    if (!exists(file)) throw Error::because(ENOPKG, "use Gemfile", file, "it is not there");
    trust(file);
    edit_.because("bundle");
    edit_.set("BUNDLE_GEMFILE", file);
    edit_.chose("bundle", bundle_ == Bundle::setup ? "setup" : "exec", file);
  }

  /// So that a server can execute the wrapper again, and that wrappers in wrappers end.
  void name_ourselves() {
    edit_.because("drover-exec");
    const std::string depth = places_.inherited.value("DROVER_DEPTH");
    const auto colon = depth.find(':');
    int count = 0;
    if (colon != std::string::npos && depth.substr(0, colon) == std::to_string(caller_.pid))
      std::from_chars(depth.data() + colon + 1, depth.data() + depth.size(), count);
    if (count >= kDeepest)
      throw Error::because(ELOOP, "run", wrapper_.path,
                           "drover-exec started itself again and again",
                           "does the wrapper's command find another wrapper in PATH?");
    block_.set("DROVER_DEPTH", fmt::format("{}:{}", caller_.pid, count + 1));
    block_.set("PWD", plan_.folder.empty() ? caller_.folder : plan_.folder);
    if (wrapper_.path.empty()) return;
    edit_.set("DROVER_WRAPPER", wrapper_.path);
  }

  std::string program_of(const Choice& choice) const {
    const Language language = choice.installation.language;
    if (choice.kind == Choice::Kind::system)
      return find(language == Language::python ? "python3" : std::string(to_string(language)));
    return interpreter_of(language, choice.installation.prefix);
  }
  std::string ruby_program() const { return program_of(ruby_); }

  std::string find(const std::string& name) const {
    std::vector<os::FileId> ourselves;
    for (const std::string& path : {wrapper_.path, std::string("/proc/self/exe")})
      if (const auto id = file_behind(path)) ourselves.push_back(*id);
    const std::string& folder = plan_.folder.empty() ? caller_.folder : plan_.folder;
    return find_program(name, block_.value("PATH"), folder, ourselves);
  }

  void choose_command() {
    if (ruby_.kind != Choice::Kind::none) {
      plan_.checks.push_back({ruby_program()});
      if (bundle_ != Bundle::none) plan_.checks.back().emplace_back("-rbundler/setup");
      plan_.checks.back().insert(plan_.checks.back().end(), {"-e", "0"});
    }
    std::vector<std::string> words = wrapper_.command;
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    if (wrapper_.ruby_follows) {
      run_ourselves_as_ruby();
    } else if (words.empty() || words[0].empty()) {
      throw Error::because(EBADMSG, "use wrapper", wrapper_.path, "it has no command");
    } else if (bundle_ == Bundle::exec) {
      plan_.program = find("bundle");
      plan_.arguments = {"bundle", "exec"};
      plan_.arguments.insert(plan_.arguments.end(), words.begin(), words.end());
    } else {
      run(words);
    }
    edit_.chose("command", plan_.program, wrapper_.path.empty() ? "command line" : wrapper_.path);
  }

  void run_ourselves_as_ruby() {
    if (ruby_.kind == Choice::Kind::none)
      throw Error::because(ENOPKG, "run", wrapper_.path, "the wrapper chooses no ruby",
                           "ruby = \"auto\" or \"system\"");
    plan_.program = ruby_program();
    plan_.arguments = {plan_.program};
    if (bundle_ == Bundle::setup) plan_.arguments.emplace_back("-rbundler/setup");
    plan_.arguments.push_back(wrapper_.path);
    plan_.arguments.insert(plan_.arguments.end(), arguments_.begin(), arguments_.end());
    edit_.set("DROVER_STAGE2", "1");
  }

  /// A ruby script is loaded by the ruby that was chosen, with the wrapper's name as its own: by
  /// that name the server executes itself anew. Everything else is executed as it is.
  void run(const std::vector<std::string>& words) {
    const bool in_bundle = bundle_ == Bundle::setup;
    std::string program;
    try {
      program = find(words[0]);
    } catch (const os::ExecError& error) {
      if (!in_bundle || error.err() != ENOENT || words[0].find('/') != std::string::npos) throw;
    }
    const bool is_ruby_script =
        program.empty() || interpreter_line(program).find("ruby") != std::string::npos;
    if (ruby_.kind == Choice::Kind::none || !is_ruby_script ||
        (!in_bundle && wrapper_.path.empty())) {
      plan_.program = program;
      plan_.arguments = words;
      return;
    }
    plan_.program = ruby_program();
    const std::string title = wrapper_.path.empty() ? program : wrapper_.path;
    const auto slash = words[0].rfind('/');
    plan_.arguments =
        words_of({plan_.program, in_bundle, title.empty() ? words[0] : title,
                  slash == std::string::npos ? words[0] : words[0].substr(slash + 1), program});
    plan_.arguments.insert(plan_.arguments.end(), words.begin() + 1, words.end());
  }

  const Wrapper& wrapper_;
  const std::vector<std::string>& arguments_;
  const Caller& caller_;
  Plan plan_;
  Block block_;
  Edit edit_;
  Trust trust_;
  Places places_;
  Choice ruby_;
  Bundle bundle_ = Bundle::none;
};

}  // namespace

std::string logical_folder(const Block& environment) {
  const std::string named = environment.value("PWD");
  struct stat here {};
  struct stat there {};
  if (named.starts_with('/') && ::stat(".", &here) == 0 && ::stat(named.c_str(), &there) == 0 &&
      os::id_of(here) == os::id_of(there))
    return normal_path(named);
  const std::string real = os::absolute(".");
  return real.substr(0, real.size() - 2);
}

std::string logical_path(const std::string& path, const std::string& folder) {
  std::string full = normal_path(path.starts_with('/') ? path : folder + "/" + path);
  for (auto at = full.find("/./"); at != std::string::npos; at = full.find("/./", at))
    full.erase(at, 2);
  return full;
}

Wrapper load_wrapper(const std::string& path, Edit& edit) {
  edit.because("trust");
  Trust trust(edit);
  const std::string text = trust.read(path, kLongestWrapper);
  trust.check_way(path);
  return parse_wrapper(text, path);
}

Plan make_plan(const Wrapper& wrapper, const std::vector<std::string>& arguments,
               const Caller& caller) {
  return Planner(wrapper, arguments, caller).make();
}

}  // namespace drover::environ
