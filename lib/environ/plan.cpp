#include "lib/environ/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>

#include "lib/environ/launch.h"
#include "lib/environ/record.h"
#include "lib/environ/reset.h"
#include "lib/environ/resolve.h"
#include "lib/environ/small_file.h"
#include "lib/environ/trust.h"
#include "lib/environ/variables.h"
#include "lib/environ/version.h"
#include "lib/os/error.h"

namespace drover::environ {
namespace {

constexpr int kDeepest = 64;
constexpr long long kInARow = 1000;  // milliseconds

class Planner {
 public:
  Planner(const Wrapper& wrapper, const std::vector<std::string>& arguments, const Caller& caller)
      : wrapper_(wrapper),
        arguments_(arguments),
        caller_(caller),
        block_(caller.environment),
        edit_(block_, plan_.steps),
        trust_(edit_, wrapper.insecure_paths) {
    const Block found = where_managers_are();
    const std::string home = found.value("HOME");
    places_ = {home.starts_with('/') ? home : caller.home, wrapper.app, found};
  }

  Plan make() {
    plan_.folder = wrapper_.folder == "keep" ? "" : wrapper_.folder;
    if (plan_.folder.empty() && wrapper_.folder != "keep" && !wrapper_.path.empty())
      plan_.folder = wrapper_.app;
    plan_.umask = wrapper_.umask;
    plan_.lock = wrapper_.lock;
    plan_.wrapper = wrapper_.path;
    if (!wrapper_.path.empty()) edit_.chose("application", wrapper_.app, wrapper_.path);
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
    choose_command({wrapper_, arguments_, caller_, ruby_, python_, node_, bundle_}, block_, edit_,
                   trust_, plan_);
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

  /// The environment for finding managers: without what an earlier generation or a tool for
  /// folders set, and with what this wrapper sets, so that every generation finds the same.
  [[nodiscard]] Block where_managers_are() const {
    Block block = caller_.environment;
    Steps steps;
    Edit edit(block, steps);
    revert_recorded(edit, {});
    for (const auto& [name, value] : wrapper_.env)
      block.set(name, value);
    return block;
  }

  void clean() {
    reset(edit_, places_);
    if (wrapper_.clean == Clean::strict) restrict_to(edit_, wrapper_.pass);
  }

  void choose_interpreters() {
    node_ = choose_interpreter(Language::node, wrapper_.node);
    python_ = choose_interpreter(Language::python, wrapper_.python);
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
      if (chosen) edit_.drop_parts("PATH", runtime.roots(places_), kShims);
    }
  }

  Choice choose_interpreter(Language language, const Setting& setting) {
    Choice choice = choose(language, setting.value, setting.origin, places_);
    const std::string name(to_string(language));
    if (choice.kind == Choice::Kind::installed || choice.kind == Choice::Kind::prefix) {
      trust_.check_way(interpreter_of(language, choice.installation.prefix));
      // It says where python finds its library.
      const std::string config = choice.installation.prefix + "/pyvenv.cfg";
      if (language == Language::python && exists(config)) trust_.check_way(config);
      edit_.chose(name, choice.installation.prefix, choice.origin);
      enter(edit_, choice);
    } else if (choice.kind == Choice::Kind::system) {
      edit_.chose(name, "the system's", choice.origin);
    } else {
      return choice;
    }
    chosen_.push_back(language);
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
  [[nodiscard]] std::string gemfile() const {
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
    const std::string& folder = plan_.folder.empty() ? caller_.folder : plan_.folder;
    if (!folder.empty()) block_.set("PWD", folder);
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
    const bool recent = ours && numbers[2] > now_ms - kInARow && numbers[2] <= now_ms;
    return recent ? static_cast<int>(numbers[1]) : 0;
  }

  const Wrapper& wrapper_;
  const std::vector<std::string>& arguments_;
  const Caller& caller_;
  Plan plan_;
  Block block_;
  Edit edit_;
  Trust trust_;
  Places places_;
  Choice ruby_, python_, node_;
  std::vector<Language> chosen_;
  Bundle bundle_ = Bundle::none;
};

}  // namespace

Plan make_plan(const Wrapper& wrapper, const std::vector<std::string>& arguments,
               const Caller& caller) {
  return Planner(wrapper, arguments, caller).make();
}

}  // namespace drover::environ
