#include "tools/exec_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>

#include "lib/cli/message.h"

namespace drover::exec {
namespace {

using Json = nlohmann::ordered_json;
using cli::printable;
using environ::Block;
using environ::Step;

bool looks_secret(std::string_view name) {
  constexpr std::array kWords = {
      "SECRET",       "TOKEN",       "PASSW", "API_KEY", "APIKEY",     "PRIVATE",
      "CREDENTIAL",   "COOKIE",      "DSN",   "_KEY",    "PASSPHRASE", "AUTH",
      "DROVER_STATE", "DROVER_ARGS", "_PASS", "PGPASS",  "_PWD"};
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](const char* word) { return upper.find(word) != std::string::npos; });
}

/// "postgres://app:secret@db/": an address with somebody's name or password before the host.
bool has_password(std::string_view value) {
  for (auto at = value.find("://"); at != std::string_view::npos; at = value.find("://", at + 3)) {
    const auto rest = value.substr(at + 3);
    const auto end = rest.find_first_of(" 	?#");
    const auto at_sign = rest.substr(0, end).rfind('@');
    if (at_sign == std::string_view::npos) continue;
    // "host/a@b" is a path; "user:a/b@host" has a password with a slash.
    const auto user = rest.substr(0, at_sign);
    if (user.find('/') == std::string_view::npos || user.find(':') != std::string_view::npos)
      return true;
  }
  return false;
}

/// As a shell would need it.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,@%+";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word)
    text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string command_line(const environ::Plan& plan, const Style& style) {
  std::string line = quoted(plan.program);
  for (size_t at = 1; at < plan.arguments.size(); ++at)
    line += " " + quoted(shown("", plan.arguments[at], style));
  return line;
}

/// A basic string of TOML. What is no UTF-8 cannot be written in one: it becomes U+FFFD.
std::string toml_string(const std::string& text) {
  std::string quoted = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  for (auto at = quoted.find('\x7f'); at != std::string::npos; at = quoted.find('\x7f', at))
    quoted.replace(at, 1, "\\u007f");
  return quoted;
}

const char* kind_name(Step::Kind kind) {
  switch (kind) {
    case Step::Kind::set:
      return "set";
    case Step::Kind::unset:
      return "unset";
    case Step::Kind::part_added:
      return "part_added";
    case Step::Kind::part_removed:
      return "part_removed";
    case Step::Kind::chosen:
      return "chosen";
    case Step::Kind::warning:
      return "warning";
  }
  return "set";
}

/// The values of variables may be secrets, what is said of files is not.
std::string text_of(const Step& step, const Style& style) {
  return step.kind == Step::Kind::set ? shown(step.subject, step.text, style) : step.text;
}

std::string as_json(const environ::Plan& plan, const Style& style) {
  Json steps = Json::array();
  for (const Step& step : plan.steps)
    steps.push_back({{"kind", kind_name(step.kind)},
                     {"subject", step.subject},
                     {"text", text_of(step, style)},
                     {"reason", step.reason}});
  Json arguments = Json::array();
  for (const auto& word : plan.arguments)
    arguments.push_back(shown("", word, style));
  const Json object = {{"v", 1},
                       {"program", plan.program},
                       {"arguments", std::move(arguments)},
                       {"folder", plan.folder},
                       {"umask", plan.umask ? Json(fmt::format("{:04o}", *plan.umask)) : Json()},
                       {"lock", plan.lock},
                       {"steps", std::move(steps)}};
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string shown(const std::string& name, const std::string& value, const Style& style) {
  const bool masked =
      !style.secrets && !value.empty() && (looks_secret(name) || has_password(value));
  return masked ? fmt::format("<masked, {} bytes>", value.size()) : value;
}

bool is_utf8(const std::string& text) {
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

std::string line_of(const Step& step, const Style& style) {
  const std::string reason = step.reason.empty() ? "" : fmt::format("  ({})", step.reason);
  const std::string value = text_of(step, style);
  switch (step.kind) {
    case Step::Kind::set:
      return fmt::format("+ {}={}{}", step.subject, value, reason);
    case Step::Kind::unset:
      return fmt::format("- {}{}", step.subject, reason);
    case Step::Kind::part_added:
      return fmt::format("+ {}: {}{}", step.subject, step.text, reason);
    case Step::Kind::part_removed:
      return fmt::format("- {}: {}{}", step.subject, step.text, reason);
    case Step::Kind::chosen:
      return fmt::format("= {} {}{}", step.subject, step.text, reason);
    case Step::Kind::warning:
      return fmt::format("! {}: {}{}", step.subject, step.text, reason);
  }
  return {};
}

std::string as_toml(const environ::Import& import) {
  const auto list = [](const std::vector<std::string>& words) {
    std::string text;
    for (const auto& word : words)
      text += (text.empty() ? "" : ", ") + toml_string(word);
    return text;
  };
  std::string text;
  if (!import.left_out.empty())
    text += fmt::format("# Left out, ruby = \"auto\" (python, node) chooses it: {}\n",
                        printable(fmt::to_string(fmt::join(import.left_out, " "))));
  if (!import.command.empty()) text += fmt::format("# command = [{}]\n", list(import.command));
  if (!import.unset.empty()) text += fmt::format("unset = [{}]\n", list(import.unset));
  if (!(import.path_front.empty() && import.path_back.empty())) text += "[path]\n";
  if (!import.path_front.empty()) text += fmt::format("prepend = [{}]\n", list(import.path_front));
  if (!import.path_back.empty()) text += fmt::format("append = [{}]\n", list(import.path_back));
  text += "[env]\n";
  for (const auto& [name, value] : import.set)
    text += fmt::format("{} = {}\n", toml_string(name), toml_string(value));
  return text;
}

std::string explain(const environ::Plan& plan, const Style& style) {
  if (style.json) return as_json(plan, style);
  std::string text;
  for (const Step& step : plan.steps)
    text += printable(line_of(step, style)) + "\n";
  if (!plan.folder.empty()) text += fmt::format("in {}\n", printable(plan.folder));
  if (plan.umask) text += fmt::format("umask {:04o}\n", *plan.umask);
  if (!plan.lock.empty()) text += fmt::format("holding {}\n", printable(plan.lock));
  return text + fmt::format("exec {}\n", printable(command_line(plan, style)));
}

std::string diff(const Block& before, const Block& after, const Style& style) {
  const auto is_of_the_moment = [](const std::string& name) {
    return name == "DROVER_DEPTH" || name == "DROVER_STATE" || name == "DROVER_STAGE2";
  };
  std::string text;
  for (const auto& [name, value] : before.variables())
    if (!after.has(name) && !is_of_the_moment(name))
      text += printable(fmt::format("- {}={}", name, shown(name, value, style))) + "\n";
  for (const auto& [name, value] : after.variables()) {
    const std::string* old = before.find(name);
    if (is_of_the_moment(name) || (old != nullptr && *old == value)) continue;
    if (old == nullptr) {
      text += printable(fmt::format("+ {}={}", name, shown(name, value, style))) + "\n";
    } else {
      text += printable(fmt::format("~ {}: {} -> {}", name, shown(name, *old, style),
                                    shown(name, value, style))) +
              "\n";
    }
  }
  return text;
}

}  // namespace drover::exec
