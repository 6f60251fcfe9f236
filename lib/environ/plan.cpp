#include "lib/environ/plan.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>

#include "lib/environ/command.h"
#include "lib/environ/logical_path.h"
#include "lib/environ/record.h"
#include "lib/environ/reset.h"
#include "lib/environ/resolve.h"
#include "lib/environ/trust.h"
#include "lib/environ/variables.h"
#include "lib/environ/version.h"
#include "lib/os/error.h"
#include "lib/os/spawn.h"

namespace drover::environ {
namespace {

constexpr const char* kArguments = "DROVER_ARGS";
constexpr size_t kLongestFirstLine = 250;
constexpr int kDeepest = 64;
constexpr long long kInARow = 1000;  // milliseconds
constexpr size_t kLongestWrapper = 256 << 10;
constexpr int kMostReleases = 10;

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

class Planner {
 public:
  Planner(const Wrapper& wrapper, const std::vector<std::string>& arguments, const Caller& caller)
      : wrapper_(wrapper),
        arguments_(arguments),
        caller_(caller),
        block_(caller.environment),
        edit_(block_, plan_.steps),
        trust_(edit_, wrapper.insecure_paths) {
    places_ = {caller.home, wrapper.app, where_managers_are()};
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
    drop_shims();
    add_variables(wrapper_, edit_, trust_);
    set_gem_home();
    add_folders(wrapper_, edit_, trust_);
    clean_path(edit_);
    choose_bundle();
    name_ourselves();
    choose_command();
    remember(base);
    plan_.environment = std::move(block_);
    return std::move(plan_);
  }

 private:
  void remember(const Block& base) {
    std::vector<std::string> lost;
    const std::string record = make_record(base, block_, lost);
    if (!record.empty()) block_.set(kRecordName, record);
    edit_.because("drover-exec");
    for (const auto& name : lost)
      edit_.warn(name, "its old value is too long to be remembered for the next generation");
  }

  /// The environment for finding managers: without what an earlier generation set, and with what
  /// this wrapper sets, so that every generation finds the same.
  [[nodiscard]] Block where_managers_are() const {
    Block block = caller_.environment;
    Steps steps;
    Edit edit(block, steps);
    revert_record(edit);
    for (const auto& [name, value] : wrapper_.env)
      block.set(name, value);
    return block;
  }

  void clean() {
    if (wrapper_.clean == Clean::none) return;
    reset(edit_, places_);
    if (wrapper_.clean == Clean::strict) restrict_to(edit_, wrapper_.pass);
  }

  void choose_interpreters() {
    choose_interpreter(Language::node, wrapper_.node);
    choose_interpreter(Language::python, wrapper_.python);
    ruby_ = choose_interpreter(Language::ruby, wrapper_.ruby);
  }

  /// A manager's shims would choose again, each in its own way.
  void drop_shims() {
    for (const Runtime& runtime : runtimes()) {
      const bool chosen =
          std::any_of(runtime.languages.begin(), runtime.languages.end(), [&](Language language) {
            return std::find(chosen_.begin(), chosen_.end(), language) != chosen_.end();
          });
      edit_.because(std::string(runtime.name));
      if (chosen) edit_.drop_parts("PATH", runtime.roots(places_), {"shims"});
    }
  }

  Choice choose_interpreter(Language language, const Setting& setting) {
    Choice choice = choose(language, setting.value, setting.origin, places_);
    const std::string name(to_string(language));
    if (choice.kind == Choice::Kind::installed || choice.kind == Choice::Kind::prefix) {
      trust_.check_way(interpreter_of(language, choice.installation.prefix));
      edit_.chose(name, choice.installation.prefix, choice.origin);
      enter(edit_, choice);
    } else if (choice.kind == Choice::Kind::system) {
      edit_.chose(name, "the system's", choice.origin);
    } else {
      return choice;
    }
    chosen_.push_back(language);
    if (language != Language::ruby)
      plan_.checks.push_back({program_of(choice), language == Language::node ? "-e" : "-c", "0"});
    return choice;
  }

  /// ~/.gem/ENGINE/VERSION, by the name of the ruby's folder: "jruby-9.4.0", "3.2.1".
  [[nodiscard]] std::string gem_home_of_chruby() const {
    const std::string& prefix = ruby_.installation.prefix;
    const std::string name = prefix.substr(prefix.rfind('/') + 1);
    const auto dash = name.find('-');
    const bool has_engine =
        dash != std::string::npos && std::isalpha(static_cast<unsigned char>(name[0])) != 0;
    const std::string version = has_engine ? name.substr(dash + 1) : name;
    if (!is_version_name(version) || std::isdigit(static_cast<unsigned char>(version[0])) == 0)
      throw Error::because(ENOPKG, "use gem_home", "chruby",
                           "the chosen ruby's folder does not tell its version");
    return fmt::format("{}/.gem/{}/{}", places_.home, has_engine ? name.substr(0, dash) : "ruby",
                       version);
  }

  void set_gem_home() {
    if (wrapper_.gem_home.empty()) return;
    edit_.because("gem_home");
    const std::string home =
        wrapper_.gem_home == "chruby" ? gem_home_of_chruby() : wrapper_.gem_home;
    edit_.set("GEM_HOME", home);
    edit_.prepend("PATH", {home + "/bin"});
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
        wrapper_.gemfile == "keep" ? caller_.environment.value("BUNDLE_GEMFILE") : gemfile();
    if (bundle_ == Bundle::automatic)
      bundle_ = ruby_.kind != Choice::Kind::none && exists(file) ? Bundle::setup : Bundle::none;
    if (bundle_ == Bundle::none) return;
    if (ruby_.kind == Choice::Kind::none)
      throw Error::because(ENOPKG, "use bundle in", wrapper_.app, "the wrapper chooses no ruby",
                           "ruby = \"auto\" or \"system\"");
    if (!exists(file)) throw Error::because(ENOPKG, "use Gemfile", file, "it is not there");
    trust_.check_way(file);
    edit_.because("bundle");
    edit_.set("BUNDLE_GEMFILE", file);
    edit_.chose("bundle", bundle_ == Bundle::setup ? "setup" : "exec", file);
  }

  /// So that a server can execute the wrapper again, and that wrappers in wrappers end.
  void name_ourselves() {
    edit_.because("drover-exec");
    const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                         std::chrono::steady_clock::now().time_since_epoch())
                         .count();
    const int count = executions_in_a_row(now);
    if (count >= kDeepest)
      throw Error::because(ELOOP, "run", wrapper_.path,
                           "drover-exec started itself again and again",
                           "does the wrapper's command find another wrapper in PATH?");
    block_.set("DROVER_DEPTH", fmt::format("{}:{}:{}", caller_.pid, count + 1, now));
    block_.set("PWD", plan_.folder.empty() ? caller_.folder : plan_.folder);
    if (wrapper_.path.empty()) return;
    edit_.set("DROVER_WRAPPER", wrapper_.path);
  }

  /// How often this process has executed drover-exec, each time within a second of the one before:
  /// a server that executes itself in place, as puma does, takes longer from one reload to the
  /// next.
  [[nodiscard]] int executions_in_a_row(long long now_ms) const {
    const std::string depth = caller_.environment.value("DROVER_DEPTH");
    std::vector<long long> numbers;
    for (const auto& word : split_list(depth)) {
      numbers.emplace_back();
      std::from_chars(word.data(), word.data() + word.size(), numbers.back());
    }
    const bool ours = numbers.size() == 3 && numbers[0] == caller_.pid;
    return ours && now_ms - numbers[2] < kInARow ? static_cast<int>(numbers[1]) : 0;
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
    const auto arguments = own_arguments();
    words.insert(words.end(), arguments.begin(), arguments.end());
    if (wrapper_.command.size() > 1 && !wrapper_.path.empty())
      block_.set(kArguments, pack_words({wrapper_.command.begin() + 1, wrapper_.command.end()}));
    if (wrapper_.ruby_follows) {
      run_ourselves_as_ruby();
    } else if (words.empty() || words[0].empty()) {
      throw Error::because(EBADMSG, "use wrapper", wrapper_.path, "it has no command");
    } else if (bundle_ == Bundle::exec) {
      plan_.program = ruby_program();
      plan_.arguments = {plan_.program, "-S", "bundle", "exec"};
      plan_.arguments.insert(plan_.arguments.end(), words.begin(), words.end());
    } else {
      run(words);
    }
    if (!wrapper_.path.empty()) trust_.check_way(plan_.program);
    edit_.chose("command", plan_.program, wrapper_.path.empty() ? "command line" : wrapper_.path);
  }

  /// A server that executes the wrapper anew hands back all of its arguments, the wrapper's own
  /// ones in front: those of that generation, which are remembered, as the file may be another by
  /// now.
  std::vector<std::string> own_arguments() const {
    const Block& inherited = caller_.environment;
    if (wrapper_.path.empty() || inherited.value("DROVER_WRAPPER") != wrapper_.path)
      return arguments_;
    const auto remembered = unpack_words(inherited.value(kArguments));
    const bool is_prefix = remembered.size() <= arguments_.size() &&
                           std::equal(remembered.begin(), remembered.end(), arguments_.begin());
    if (!is_prefix) return arguments_;
    return {arguments_.begin() + static_cast<long>(remembered.size()), arguments_.end()};
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

  /// A ruby script is run by the ruby that was chosen, with the bundle loaded. Everything else is
  /// executed as it is.
  void run(const std::vector<std::string>& words) {
    const auto slash = words[0].rfind('/');
    const bool by_name = slash == std::string::npos;
    const bool in_bundle =
        bundle_ == Bundle::setup && !(by_name && (words[0] == "bundle" || words[0] == "gem"));
    const std::string program = find_script(words[0], in_bundle && by_name);
    const bool own_program = is_in(program, ruby_.installation.prefix);
    if (ruby_.kind == Choice::Kind::none || (!program.empty() && !is_ruby_script(program)) ||
        (!in_bundle && (own_program || ruby_.kind == Choice::Kind::system) &&
         !keeps_title(words[0]))) {
      plan_.program = program;
      plan_.arguments = words;
      return;
    }
    plan_.program = ruby_program();
    plan_.arguments = {plan_.program};
    if (in_bundle) plan_.arguments.emplace_back("-rbundler/setup");
    const bool load = keeps_title(words[0]) || (in_bundle && by_name);
    if (load) {
      const std::string title = keeps_title(words[0]) ? wrapper_.path : "";
      const auto start = loading_words(title, by_name ? words[0] : "", program);
      plan_.arguments.insert(plan_.arguments.end(), start.begin(), start.end());
      if (in_bundle && by_name)
        plan_.checks.push_back({plan_.program, "-rbundler/setup", "-e", kFind, words[0], program});
    } else {
      plan_.arguments.push_back(program);
    }
    plan_.arguments.insert(plan_.arguments.end(), words.begin() + 1, words.end());
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
    return !wrapper_.path.empty() &&
           (name == "unicorn" || name == "unicorn_rails" || name == "rainbows");
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
  std::vector<Language> chosen_;
  Bundle bundle_ = Bundle::none;
};

Wrapper load_wrapper(const std::string& path, Edit& edit) {
  edit.because("trust");
  Trust trust(edit);
  const std::string text = trust.read(path, kLongestWrapper);
  if (std::min(text.find('\n'), text.size()) > kLongestFirstLine)
    throw Error::because(EBADMSG, "use wrapper", path + ":1",
                         "the kernel cuts first lines at 255 bytes, without a word");
  trust.check_way(path);
  return parse_wrapper(text, path);
}

/// The wrapper and its application, as their paths led to them when this was made.
class Release {
 public:
  explicit Release(const std::string& wrapper) { add(wrapper); }
  void add(const std::string& path) { files_.emplace_back(path, file_behind(path)); }
  [[nodiscard]] bool is_still_there() const {
    return std::all_of(files_.begin(), files_.end(),
                       [](const auto& file) { return file_behind(file.first) == file.second; });
  }

 private:
  std::vector<std::pair<std::string, std::optional<os::FileId>>> files_;
};

}  // namespace

Plan make_plan(const Wrapper& wrapper, const std::vector<std::string>& arguments,
               const Caller& caller) {
  return Planner(wrapper, arguments, caller).make();
}

Plan make_plan_of_file(const std::string& path, const std::vector<std::string>& arguments,
                       const Caller& caller, bool insecure_paths) {
  for (int tries = 0; tries < kMostReleases; ++tries) {
    Release release(path);
    try {
      Steps steps;
      Block none;
      Edit edit(none, steps);
      Wrapper wrapper = load_wrapper(path, edit);
      release.add(wrapper.app);
      wrapper.insecure_paths = wrapper.insecure_paths || insecure_paths;
      Plan plan = make_plan(wrapper, arguments, caller);
      plan.steps.insert(plan.steps.begin(), steps.begin(), steps.end());
      if (release.is_still_there()) return plan;
    } catch (const Error&) {
      if (release.is_still_there()) throw;
    }
  }
  throw Error::because(EAGAIN, "run", path, "its release was switched again and again meanwhile");
}

}  // namespace drover::environ
