#include "lib/environ/reset.h"

#include <algorithm>
#include <array>

#include "lib/environ/record.h"
#include "lib/environ/recorded_diff.h"

namespace drover::environ {
namespace {

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A name, or the start of names with "*" at its end.
bool matches(std::string_view name, std::string_view pattern) {
  if (!pattern.ends_with('*')) return name == pattern;
  pattern.remove_suffix(1);
  return name.starts_with(pattern);
}

template <class Patterns>
bool matches_any(std::string_view name, const Patterns& patterns) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](std::string_view pattern) { return matches(name, pattern); });
}

/// What an interactive shell keeps for itself; BASH_ENV and ENV are executed by later ones.
void drop_shell_state(Edit& edit) {
  edit.because("shell");
  edit.unset({"PS1", "PS2", "PS4", "PROMPT_COMMAND", "BASH_ENV", "ENV", "OLDPWD"});
  edit.because("python");
  edit.unset("PYTHONHOME");  // of another python: fatal at its start
  edit.because("puma");
  edit.unset("PUMA_BUNDLER_PRUNED");
  edit.because("drover");
  edit.unset({"DROVER_STAGE2", "DROVER_RELEASE"});
}

/// An empty component means the current directory: a way in for whoever can write there.
void clean_path(Edit& edit) {
  edit.because("PATH");
  std::vector<std::string> seen;
  edit.drop_parts("PATH", [&](const std::string& part) {
    if (!part.starts_with('/') || std::find(seen.begin(), seen.end(), part) != seen.end())
      return true;
    seen.push_back(part);
    return false;
  });
  if (edit.block().value("PATH").empty()) edit.set("PATH", kDefaultPath);
}

}  // namespace

bool is_protocol(std::string_view name) {
  constexpr std::array<std::string_view, 23> kNames = {
      "UNICORN_FD",
      "UNICORN_WORKER",
      "GUNICORN_FD",
      "GUNICORN_PID",
      "LISTEN_FDS",
      "LISTEN_PID",
      "LISTEN_FDNAMES",
      "PUMA_INHERIT_*",
      "EINHORN_*",
      "SERVER_STARTER_PORT",
      "SERVER_STARTER_GENERATION",
      "NOTIFY_SOCKET",
      "WATCHDOG_USEC",
      "WATCHDOG_PID",
      "MAINPID",
      "INVOCATION_ID",
      "JOURNAL_STREAM",
      "CREDENTIALS_DIRECTORY",
      "RUNTIME_DIRECTORY",
      "STATE_DIRECTORY",
      "DROVER_LOCK",
      "DROVER_LOCK_FD",
      "PREFORK_FD",
  };
  return matches_any(name, kNames);
}

void reset(Edit& edit, const Places& places) {
  revert_record(edit);
  revert_direnv(edit);
  revert_mise(edit);
  // Bundler first: the values that it saved may be full of the managers' own.
  const auto table = runtimes();
  for (auto runtime = table.rbegin(); runtime != table.rend(); ++runtime) {
    edit.because(std::string(runtime->name));
    runtime->undo(edit, places);
  }
  drop_shell_state(edit);
  clean_path(edit);
}

void restrict_to(Edit& edit, const std::vector<std::string>& pass) {
  constexpr std::array<std::string_view, 11> kAlways = {
      "HOME", "USER", "LOGNAME", "SHELL",           "LANG",        "LC_*",
      "TZ",   "TERM", "TMPDIR",  "XDG_RUNTIME_DIR", "DROVER_DEPTH"};
  edit.because("clean = \"strict\"");
  std::vector<std::string> others;
  for (const auto& [name, value] : edit.block().variables())
    if (!is_protocol(name) && !matches_any(name, kAlways) && !matches_any(name, pass))
      others.push_back(name);
  for (const auto& name : others)
    edit.unset(std::string_view(name));
  if (!edit.block().has("PATH")) edit.set("PATH", kDefaultPath);
}

}  // namespace drover::environ
