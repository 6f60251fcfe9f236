#include "lib/environ/block.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

#include "lib/os/error.h"

namespace drover::environ {
namespace {

constexpr size_t kLongest = 131072;  // MAX_ARG_STRLEN

}  // namespace

Block::Block(const char* const* environment) {
  for (; environment != nullptr && *environment != nullptr; ++environment)
    add(*environment);
}

Block Block::from_proc(std::string_view text) {
  Block block;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    block.add(text.substr(at, end - at));
    at = end + 1;
  }
  return block;
}

void Block::add(std::string_view entry) {
  const auto equals = entry.find('=');
  if (equals == std::string_view::npos || equals == 0) return;
  variables_.emplace(entry.substr(0, equals), entry.substr(equals + 1));  // the first one stays
}

const std::string* Block::find(std::string_view name) const noexcept {
  const auto found = variables_.find(name);
  return found == variables_.end() ? nullptr : &found->second;
}

std::string Block::value(std::string_view name) const {
  const std::string* found = find(name);
  return found == nullptr ? "" : *found;
}

void Block::set(std::string_view name, std::string value) {
  variables_.insert_or_assign(std::string(name), std::move(value));
}

bool Block::unset(std::string_view name) {
  const auto found = variables_.find(name);
  if (found == variables_.end()) return false;
  variables_.erase(found);
  return true;
}

std::vector<std::string> Block::strings() const {
  std::vector<std::string> strings;
  strings.reserve(variables_.size());
  for (const auto& [name, value] : variables_) {
    if (name.size() + value.size() + 2 > kLongest)
      throw Error::because(E2BIG, "pass on variable", name.substr(0, 200),
                           "the kernel takes at most 131072 bytes for one");
    strings.push_back(fmt::format("{}={}", name, value));
  }
  return strings;
}

}  // namespace drover::environ
