// conda, by the folder of an environment.
#include <cctype>
#include <nlohmann/json.hpp>

#include "lib/environ/env_file.h"
#include "lib/environ/runtimes/runtime.h"
#include "lib/environ/small_file.h"

namespace drover::environ {
namespace {

bool is_numbered(std::string_view name, std::string_view start) {
  if (!name.starts_with(start) || name.size() == start.size()) return false;
  const auto rest = name.substr(start.size());
  return rest.find_first_not_of("0123456789") == std::string_view::npos;
}

/// The variables that `conda env config vars set` made.
std::vector<Variable> configured(const std::string& prefix) {
  std::vector<Variable> variables;
  const auto text = read_small_file(prefix + "/conda-meta/state", 64 << 10);
  const auto state = nlohmann::json::parse(text.value_or(""), nullptr, false);
  if (!state.is_object() || !state.contains("env_vars") || !state["env_vars"].is_object())
    return variables;
  for (const auto& [name, value] : state["env_vars"].items())
    if (name != "PATH" && !name.empty() && name.find('=') == std::string::npos && value.is_string())
      variables.push_back({name, value.get<std::string>()});
  return variables;
}

void undo(Edit& edit, const Places&) {
  std::vector<std::string> prefixes;
  std::vector<std::string> stack;
  for (const auto& [name, value] : edit.block().variables()) {
    if (name == "CONDA_PREFIX" || is_numbered(name, "CONDA_PREFIX_")) prefixes.push_back(value);
    if (is_numbered(name, "CONDA_PREFIX_") || is_numbered(name, "CONDA_STACKED_"))
      stack.push_back(name);
  }
  edit.drop_parts("PATH", prefixes, {"bin", "condabin"});
  for (const auto& prefix : prefixes)
    for (const auto& variable : configured(prefix))
      edit.restore(variable.name, nullptr);
  for (const auto& name : stack)
    edit.unset(std::string_view(name));
  edit.unset({"CONDA_PREFIX", "CONDA_SHLVL", "CONDA_DEFAULT_ENV", "CONDA_PROMPT_MODIFIER",
              "CONDA_EXE", "CONDA_PYTHON_EXE", "_CE_M", "_CE_CONDA"});
  edit.unset_with_prefix("__CONDA_SHLVL_");
}

void enter(Edit& edit, const Installation& installation) {
  for (const auto& [name, value] : configured(installation.prefix))
    if (!is_dangerous(name) && value.find('\0') == std::string::npos) edit.restore(name, &value);
  edit.set("CONDA_PREFIX", installation.prefix);
  edit.prepend("PATH", {installation.prefix + "/bin"});
}

}  // namespace

Runtime conda() {
  return {.name = "conda", .languages = {Language::python}, .undo = undo, .enter = enter};
}

}  // namespace drover::environ
