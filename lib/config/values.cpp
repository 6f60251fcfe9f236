#include "lib/config/values.h"

#include <fmt/core.h>

#include <cerrno>

#include "lib/config/duration.h"
#include "lib/config/spelling.h"
#include "lib/os/error.h"

namespace drover::config {

std::string Values::origin(const toml::node& node) const {
  return fmt::format("{}:{}", file_, node.source().begin.line);
}

void Values::refuse(const toml::node& node, const std::string& why) const {
  throw Error::because(EBADMSG, tried_, origin(node),
                       subject_.empty() ? why : fmt::format("{}: {}", subject_, why));
}

void Values::refuse_key(const toml::node& node, const std::string& key,
                        const std::vector<std::string>& known) const {
  throw Error::because(EBADMSG, tried_, origin(node),
                       fmt::format("unknown key '{}'{}", key, suggestion(key, known)));
}

std::string Values::text(const toml::node& node) const {
  const auto value = node.value_exact<std::string>();
  if (!value) refuse(node, "a text in quotes is wanted");
  if (value->find('\0') != std::string::npos) refuse(node, "it holds a NUL");
  return *value;
}

std::vector<std::string> Values::texts(const toml::node& node) const {
  if (!node.is_array()) return {text(node)};
  std::vector<std::string> values;
  for (const auto& element : *node.as_array())
    values.push_back(text(element));
  return values;
}

std::vector<std::string> Values::command(const toml::node& node) const {
  std::vector<std::string> words = texts(node);
  if (!node.is_array() && words[0].find(' ') != std::string::npos)
    refuse(node, "each word on its own: [\"unicorn\", \"-c\", \"unicorn.rb\"]");
  return words;
}

bool Values::flag(const toml::node& node) const {
  const auto value = node.value_exact<bool>();
  if (!value) refuse(node, "true or false is wanted");
  return *value;
}

int64_t Values::integer(const toml::node& node, int64_t least, int64_t most) const {
  const auto value = node.value_exact<int64_t>();
  if (!value || *value < least || *value > most)
    refuse(node, fmt::format("an integer from {} to {} is wanted", least, most));
  return *value;
}

double Values::number(const toml::node& node, double least, double most) const {
  const auto value = node.is_number() ? node.value<double>() : std::nullopt;
  if (!value || !(*value >= least && *value <= most))
    refuse(node, fmt::format("a number from {} to {} is wanted", least, most));
  return *value;
}

std::chrono::nanoseconds Values::duration(const toml::node& node) const {
  const auto value = node.is_number()   ? parse_duration(fmt::format("{}", *node.value<double>()))
                     : node.is_string() ? parse_duration(text(node))
                                        : std::nullopt;
  if (!value) refuse(node, "a time such as 5, \"250ms\" or \"2m\" is wanted");
  return *value;
}

mode_t Values::octal(const toml::node& node) const {
  const std::string value = text(node);
  if (value.empty() || value.size() > 4 ||
      value.find_first_not_of("01234567") != std::string::npos ||
      std::stoul(value, nullptr, 8) > 0777)
    refuse(node, "a mask such as \"0027\" is wanted");
  return static_cast<mode_t>(std::stoul(value, nullptr, 8));
}

const toml::table& Values::table(const toml::node& node) const {
  if (!node.is_table()) refuse(node, "a table is wanted");
  return *node.as_table();
}

bool is_variable_name(std::string_view name) {
  return !name.empty() && name.find('=') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

}  // namespace drover::config
