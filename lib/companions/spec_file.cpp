#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <functional>
#include <sstream>

#include "lib/companions/spec.h"
#include "lib/config/values.h"
#include "lib/os/error.h"
#include "lib/os/fd.h"
#include "lib/os/signals.h"
#include "lib/os/users.h"

namespace drover::companions {
namespace {

constexpr const char* kTried = "use companions";
constexpr size_t kLongestName = 64;
constexpr int kMostProcesses = 1000;
constexpr int kHighestReadyFd = 1023;
constexpr auto kShortestDelay = std::chrono::milliseconds(10);

bool is_name(std::string_view name) {
  const auto is_fine = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !name.empty() && name.size() <= kLongestName && name[0] != '.' && name[0] != '-' &&
         std::all_of(name.begin(), name.end(), is_fine);
}

const std::map<std::string, int>& limit_names() {
  static const std::map<std::string, int> names = {
      {"as", RLIMIT_AS},         {"core", RLIMIT_CORE},     {"cpu", RLIMIT_CPU},
      {"data", RLIMIT_DATA},     {"fsize", RLIMIT_FSIZE},   {"memlock", RLIMIT_MEMLOCK},
      {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC},   {"stack", RLIMIT_STACK},
      {"nice", RLIMIT_NICE},     {"rtprio", RLIMIT_RTPRIO}, {"sigpending", RLIMIT_SIGPENDING},
  };
  return names;
}

std::string as_given(const toml::node& node) {
  std::ostringstream text;
  node.visit([&](const auto& value) { text << value; });
  return text.str();
}

class Reader : config::Values {
 public:
  Reader(const toml::table& table, const std::string& file, std::string run_dir)
      : Values(file, kTried),
        table_(table),
        folder_(std::filesystem::path(file).parent_path().string()) {
    specs_.run_dir = std::move(run_dir);
  }

  Specs read() {
    for (const auto& [key, node] : table_) {
      if (key.str() == "run_dir") {
        specs_.run_dir = path(node);
      } else if (key.str() == "defaults") {
        defaults_ = &table(node);
      } else if (key.str() != "companion") {
        refuse_key(node, std::string(key.str()), {"run_dir", "defaults", "companion"});
      }
    }
    begin_companion();  // wrong defaults are wrong without a companion, too
    read_companions();
    for (Spec& spec : specs_.companions)
      if (spec.lock == kOwn) spec.lock = fmt::format("{}/{}.lock", specs_.run_dir, spec.name);
    refuse_wrong_needs();
    return std::move(specs_);
  }

 private:
  using Action = std::function<void(const toml::node&)>;
  static constexpr const char* kOwn = "own";  ///< the lock that a companion's name stands for

  [[nodiscard]] std::string path(const toml::node& node) const {
    std::string value = text(node);
    if (value.empty()) refuse(node, "an empty path");
    if (value.starts_with('/')) return value;
    return (std::filesystem::path(folder_) / value).lexically_normal().string();
  }

  void read_companions() {
    const toml::node* all = table_.get("companion");
    if (all == nullptr) return;
    std::vector<std::pair<std::string, const toml::node*>> entries;
    for (const auto& [key, node] : table(*all))
      entries.emplace_back(key.str(), &node);
    // toml++ sorts by name; the file's order is the one in which people think.
    const auto place = [](const auto& entry) {
      const auto& begin = entry.second->source().begin;
      return std::pair(begin.line, begin.column);
    };
    std::sort(entries.begin(), entries.end(),
              [&](const auto& one, const auto& other) { return place(one) < place(other); });
    for (const auto& [name, node] : entries)
      read_companion(name, *node);
  }

  void begin_companion() {
    spec_ = {};
    spec_.lock = kOwn;
    processes_ = 1;
    cron_restart_ = false;
    user_group_.reset();
    if (defaults_ == nullptr) return;
    for (const auto& [key, value] : *defaults_)
      read_key(std::string(key.str()), value, true);
  }

  void read_companion(const std::string& name, const toml::node& node) {
    if (!is_name(name))
      refuse(node, fmt::format("'{}' is no name: letters, digits, '_', '-' and '.' are, at most {}",
                               name, kLongestName));
    begin_companion();
    spec_.name = spec_.group = name;
    for (const auto& [key, value] : table(node))
      read_key(std::string(key.str()), value, false);
    if (spec_.command.empty()) refuse(node, fmt::format("companion '{}' has no command", name));
    complete(node);
    for (int number = 0; number < processes_; ++number)
      add_process(number);
  }

  void complete(const toml::node& node) {
    if (spec_.schedule && cron_restart_)
      refuse(node,
             fmt::format("'{}' has a cron schedule: it is never restarted otherwise", spec_.name));
    if (spec_.schedule) spec_.restart = Restart::never;
    if (!spec_.gid) spec_.gid = user_group_;
    if (spec_.restart_max_delay < spec_.restart_delay)
      spec_.restart_max_delay = spec_.restart_delay;
    if (spec_.lock != kOwn && !spec_.lock.empty() && processes_ > 1)
      refuse(node, fmt::format("the processes of '{}' cannot have one lock", spec_.name));
    if (!spec_.lock.empty() && spec_.handover == Handover::overlap)
      refuse(node, fmt::format("'{}' is a singleton: it cannot overlap itself", spec_.name));
    if (spec_.lock == kOwn && specs_.run_dir.empty())
      refuse(node, "run_dir is needed: the folder of the locks");
  }

  void add_process(int number) {
    Spec spec = spec_;
    if (spec_.given.contains("numprocs")) spec.name = fmt::format("{}:{}", spec_.group, number);
    spec.env["DROVER_COMPANION"] = spec.name;
    if (spec.name != spec.group) spec.env["DROVER_COMPANION_NUMBER"] = std::to_string(number);
    specs_.companions.push_back(std::move(spec));
  }

  void read_key(const std::string& key, const toml::node& node, bool is_default) {
    const auto action = actions_.find(key);
    if (action == actions_.end()) {
      std::vector<std::string> names;
      names.reserve(actions_.size());
      for (const auto& [name, meaning] : actions_)
        names.push_back(name);
      refuse_key(node, key, names);
    }
    if (is_default && (key == "command" || key == "lock" || key == "needs" || key == "cron"))
      refuse(node, fmt::format("'{}' is no default: each companion has its own", key));
    in_defaults_ = is_default;
    set_subject(key);
    action->second(node);
    set_subject("");
    // Tables add to those of the defaults; everything else takes their place.
    std::string& given = spec_.given[key];
    given = (node.is_table() ? given : "") + as_given(node);
  }

  std::map<std::string, Action> actions() {
    std::map<std::string, Action> all;
    add_process_keys(all);
    add_lock_keys(all);
    add_restart_keys(all);
    add_time_keys(all);
    return all;
  }

  void add_process_keys(std::map<std::string, Action>& all) {
    Spec& s = spec_;
    all["command"] = [&](const auto& node) { s.command = words(node); };
    all["description"] = [&](const auto& node) { s.description = text(node); };
    all["cwd"] = [&](const auto& node) { s.folder = path(node); };
    all["env"] = [&](const auto& node) { read_env(node); };
    all["user"] = [&](const auto& node) { read_user(node); };
    all["group"] = [&](const auto& node) { s.gid = group_of(node); };
    all["umask"] = [&](const auto& node) { s.umask = octal(node); };
    all["limits"] = [&](const auto& node) { read_limits(node); };
    all["numprocs"] = [&](const auto& node) {
      processes_ = static_cast<int>(integer(node, 1, kMostProcesses));
    };
    all["autostart"] = [&](const auto& node) { s.autostart = flag(node); };
    all["stdout"] = [&](const auto& node) { s.output = output(node); };
    all["stderr"] = [&](const auto& node) {
      s.errors_to_output = text(node) == "stdout";
      s.errors = s.errors_to_output ? "" : output(node);
    };
    all["needs"] = [&](const auto& node) { s.needs = texts(node); };
  }

  void add_lock_keys(std::map<std::string, Action>& all) {
    Spec& s = spec_;
    all["singleton"] = [&](const auto& node) {
      if (!flag(node)) {
        s.lock.clear();
      } else if (s.lock.empty()) {
        s.lock = kOwn;
      }
    };
    all["lock"] = [&](const auto& node) { s.lock = path(node); };
    all["lock_timeout"] = [&](const auto& node) { s.lock_timeout = duration(node); };
    all["hold"] = [&](const auto& node) {
      s.holding = one_of<Holding>(
          node, {{"tree", Holding::tree}, {"main", Holding::main}, {"both", Holding::both}});
    };
  }

  void add_restart_keys(std::map<std::string, Action>& all) {
    Spec& s = spec_;
    all["restart"] = [&](const auto& node) {
      s.restart = one_of<Restart>(node, {{"always", Restart::always},
                                         {"on-failure", Restart::on_failure},
                                         {"never", Restart::never}});
      cron_restart_ = !in_defaults_ && s.restart != Restart::never;
    };
    all["exit_codes"] = [&](const auto& node) { read_exit_codes(node); };
    all["restart_delay"] = [&](const auto& node) { s.restart_delay = read_delay(node); };
    all["restart_max_delay"] = [&](const auto& node) { s.restart_max_delay = duration(node); };
    all["restart_factor"] = [&](const auto& node) { s.restart_factor = number(node, 1, 100); };
    all["restart_jitter"] = [&](const auto& node) { s.restart_jitter = number(node, 0, 0.9); };
    all["reset_after"] = [&](const auto& node) { s.reset_after = duration(node); };
    all["max_restarts"] = [&](const auto& node) {
      s.max_restarts = static_cast<unsigned>(integer(node, 0, 1'000'000));
    };
  }

  void add_time_keys(std::map<std::string, Action>& all) {
    Spec& s = spec_;
    all["startsecs"] = [&](const auto& node) { s.startsecs = duration(node); };
    all["start_timeout"] = [&](const auto& node) { s.start_timeout = duration(node); };
    all["ready"] = [&](const auto& node) { read_ready(node); };
    all["stop_signal"] = [&](const auto& node) { read_stop_signal(node); };
    all["stop_timeout"] = [&](const auto& node) { s.stop_timeout = duration(node); };
    all["reload"] = [&](const auto& node) {
      s.with_server = one_of<bool>(node, {{"keep", false}, {"with-server", true}});
    };
    all["handover"] = [&](const auto& node) {
      s.handover = one_of<Handover>(node, {{"lock", Handover::lock},
                                           {"overlap", Handover::overlap},
                                           {"stop-first", Handover::stop_first}});
    };
    all["reload_timeout"] = [&](const auto& node) { s.reload_timeout = duration(node); };
    all["cron"] = [&](const auto& node) {
      std::string why;
      s.schedule = Schedule::parse(text(node), why);
      if (!s.schedule) refuse(node, fmt::format("no schedule: {}", why));
    };
  }

  [[nodiscard]] std::vector<std::string> words(const toml::node& node) const {
    auto command = Values::command(node);
    if (command.empty() || command[0].empty()) refuse(node, "an empty command");
    return command;
  }

  [[nodiscard]] std::string output(const toml::node& node) const {
    return text(node) == "inherit" ? "" : path(node);
  }

  void read_env(const toml::node& node) {
    for (const auto& [key, value] : table(node)) {
      set_subject("env." + std::string(key.str()));
      if (!config::is_variable_name(key.str())) refuse(value, "no name of a variable");
      spec_.env[std::string(key.str())] = text(value);
    }
  }

  void read_user(const toml::node& node) {
    const auto user = os::find_user(text(node));
    if (!user) refuse(node, fmt::format("there is no user '{}'", text(node)));
    spec_.uid = user->uid;
    user_group_ = user->gid;
  }

  [[nodiscard]] gid_t group_of(const toml::node& node) const {
    const auto group = os::find_group(text(node));
    if (!group) refuse(node, fmt::format("there is no group '{}'", text(node)));
    return *group;
  }

  void read_limits(const toml::node& node) {
    for (const auto& [key, value] : table(node)) {
      const auto limit = limit_names().find(std::string(key.str()));
      if (limit == limit_names().end()) {
        std::vector<std::string> names;
        for (const auto& [name, number] : limit_names())
          names.push_back(name);
        refuse_key(value, std::string(key.str()), names);
      }
      set_subject("limits." + std::string(key.str()));
      const bool unlimited = value.is_string() && text(value) == "unlimited";
      const rlim_t most =
          unlimited ? RLIM_INFINITY : static_cast<rlim_t>(integer(value, 0, INT64_MAX));
      spec_.limits[limit->second] = {most, most};
    }
  }

  void read_exit_codes(const toml::node& node) {
    spec_.exit_codes.clear();
    if (!node.is_array()) refuse(node, "a list of exit codes is wanted: [0, 2]");
    for (const auto& code : *node.as_array())
      spec_.exit_codes.insert(static_cast<int>(integer(code, 0, 255)));
  }

  /// One that fails at once shall not take a whole processor.
  [[nodiscard]] Duration read_delay(const toml::node& node) const {
    const Duration delay = duration(node);
    if (delay < kShortestDelay) refuse(node, "at least 10ms is wanted");
    return delay;
  }

  void read_ready(const toml::node& node) {
    const std::string value = text(node);
    if (value == "startsecs" || value == "notify") {
      spec_.readiness = value == "notify" ? Readiness::notify : Readiness::settled;
      return;
    }
    const bool is_fd = value.starts_with("fd:") && value.size() > 3 && value.size() < 8 &&
                       value.find_first_not_of("0123456789", 3) == std::string::npos;
    const int number = is_fd ? std::stoi(value.substr(3)) : -1;
    if (number < 3 || number > kHighestReadyFd)
      refuse(node, fmt::format("\"startsecs\", \"notify\" or \"fd:N\" is wanted, N from 3 to {}",
                               kHighestReadyFd));
    spec_.readiness = Readiness::descriptor;
    spec_.ready_fd = number;
  }

  void read_stop_signal(const toml::node& node) {
    const auto number = os::parse_signal(node.is_integer() ? as_given(node) : text(node));
    if (!number) refuse(node, "it is no signal");
    spec_.stop_signal = *number;
  }

  void refuse_wrong_needs() {
    std::map<std::string, std::set<std::string>> needs;
    for (const Spec& spec : specs_.companions)
      needs[spec.group].insert(spec.needs.begin(), spec.needs.end());
    for (const auto& [name, needed] : needs) {
      if (needed.empty()) continue;
      const toml::node& node = *table_["companion"][name]["needs"].node();
      set_subject("needs");
      for (const std::string& each : needed)
        if (!needs.contains(each)) refuse(node, fmt::format("'{}' is no companion", each));
      if (needs_itself(name, needs)) refuse(node, fmt::format("'{}' needs itself", name));
    }
  }

  static bool needs_itself(const std::string& name,
                           const std::map<std::string, std::set<std::string>>& needs) {
    std::set<std::string> seen;
    std::vector<std::string> open(needs.at(name).begin(), needs.at(name).end());
    while (!open.empty()) {
      const std::string next = open.back();
      open.pop_back();
      if (next == name) return true;
      if (!seen.insert(next).second || !needs.contains(next)) continue;
      open.insert(open.end(), needs.at(next).begin(), needs.at(next).end());
    }
    return false;
  }

  const toml::table& table_;
  std::string folder_;
  const toml::table* defaults_ = nullptr;
  Specs specs_;
  Spec spec_;  ///< the one that is being read
  int processes_ = 1;
  bool cron_restart_ = false;        ///< the companion's own table wants restarts
  std::optional<gid_t> user_group_;  ///< of its user
  bool in_defaults_ = false;
  const std::map<std::string, Action> actions_ = actions();
};

}  // namespace

Specs parse_specs(const std::string& text, const std::string& path, const std::string& run_dir) {
  const std::string file = os::absolute(path);
  return Reader(config::parse_toml(text, file, kTried), file, run_dir).read();
}

}  // namespace drover::companions
