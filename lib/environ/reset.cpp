#include "lib/environ/reset.h"

#include <algorithm>

#include "lib/environ/protocol.h"
#include "lib/environ/record.h"
#include "lib/environ/recorded_diff.h"

namespace drover::environ {
namespace {

constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an interactive shell keeps for itself; BASH_ENV and ENV are executed by later ones.
void drop_shell_state(Edit& edit) {
  edit.because("shell");
  edit.unset({"PS1", "PS2", "PS4", "PROMPT_COMMAND", "BASH_ENV", "ENV", "OLDPWD"});
  edit.because("python");
  edit.unset("PYTHONHOME");  // of another python: fatal at its start
  edit.because("puma");
  edit.unset("PUMA_BUNDLER_PRUNED");
  edit.because("drover");
  edit.unset({"DROVER_STAGE2", "DROVER_WRAPPER", "DROVER_ARGS"});
}

}  // namespace

void clean_path(Edit& edit) {
  edit.because("PATH");
  std::vector<std::string> parts;
  for (const auto& part : split_list(edit.block().value("PATH")))
    if (part.starts_with('/') && std::find(parts.begin(), parts.end(), part) == parts.end())
      parts.push_back(part);
  edit.set("PATH", parts.empty() ? kDefaultPath : join_list(parts));
}

void revert_recorded(Edit& edit, const Places& places) {
  // The newest first. What drover-exec hands on has no record of Bundler's, direnv's or mise's: one
  // that is there was made later. What they saved may be full of the managers' own.
  const Runtime& newest = runtimes().back();  // Bundler
  edit.because(std::string(newest.name));
  newest.undo(edit, places);
  revert_direnv(edit);
  revert_mise(edit);
  revert_record(edit);
}

void reset(Edit& edit, const Places& places) {
  revert_recorded(edit, places);
  const auto table = runtimes();
  for (auto runtime = table.rbegin(); runtime != table.rend(); ++runtime) {
    edit.because(std::string(runtime->name));
    runtime->undo(edit, places);
  }
  drop_shell_state(edit);
  clean_path(edit);
}

void restrict_to(Edit& edit, const std::vector<std::string>& pass) {
  std::vector<std::string_view> always = {
      "HOME", "USER", "LOGNAME", "SHELL",           "LANG",          "LC_*",
      "TZ",   "TERM", "TMPDIR",  "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "DROVER_DEPTH"};
  for (const Runtime& runtime : runtimes())
    if (runtime.root_variable != nullptr) always.emplace_back(runtime.root_variable);
  edit.because("clean = \"strict\"");
  std::vector<std::string> others;
  for (const auto& [name, value] : edit.block().variables())
    if (!is_protocol(name) && !matches_any(name, always) &&
        !matches_any(name, {pass.begin(), pass.end()}))
      others.push_back(name);
  for (const auto& name : others)
    edit.unset(std::string_view(name));
  if (!edit.block().has("PATH")) edit.set("PATH", kDefaultPath);
}

}  // namespace drover::environ
