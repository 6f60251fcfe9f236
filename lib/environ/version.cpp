#include "lib/environ/version.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace drover::environ {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// Without the manager's word for the plain engine.
std::string_view bare(std::string_view version) {
  constexpr std::array<std::string_view, 5> kWords = {"ruby-", "python-", "node-v", "node-", "v"};
  for (const auto word : kWords)
    if (version.starts_with(word) && version.size() > word.size() && is_digit(version[word.size()]))
      return version.substr(word.size());
  return version;
}

struct Component {
  unsigned long number = 0;
  std::string text;  ///< "preview", "rc", "p": what is no number
  auto operator<=>(const Component&) const = default;
};

std::vector<Component> components_of(std::string_view version) {
  std::vector<Component> components;
  for (size_t at = 0; at < version.size();) {
    Component component;
    if (is_digit(version[at])) {
      const char* const last = version.data() + version.size();
      const auto [end, error] = std::from_chars(version.data() + at, last, component.number);
      if (error != std::errc{}) component.number = ~0UL;
      at = static_cast<size_t>(end - version.data());
    } else if (is_letter(version[at])) {
      const size_t begin = at;
      while (at < version.size() && is_letter(version[at]))
        ++at;
      component.text = version.substr(begin, at - begin);
    } else {
      ++at;
      continue;
    }
    components.push_back(std::move(component));
  }
  return components;
}

/// "3.4.0-preview1", "3.13.0rc2": not a release. "p" is ruby's old word for a patch.
bool is_preview(std::string_view version) {
  const auto components = components_of(bare(version));
  const auto number = std::find_if(components.begin(), components.end(),
                                   [](const Component& one) { return one.text.empty(); });
  return std::any_of(number, components.end(),
                     [](const Component& one) { return !one.text.empty() && one.text != "p"; });
}

bool is_older(const std::string& a, const std::string& b) {
  if (is_preview(a) != is_preview(b)) return is_preview(a);
  return components_of(bare(a)) < components_of(bare(b));
}

bool begins_with(std::string_view wanted, std::string_view installed) {
  return installed.size() > wanted.size() && installed.starts_with(wanted) && !wanted.empty() &&
         (installed[wanted.size()] == '.' || installed[wanted.size()] == '-');
}

}  // namespace

bool is_version_name(std::string_view text) {
  constexpr std::string_view kMarks = "._+:@-";
  return !text.empty() && (is_digit(text[0]) || is_letter(text[0])) &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return is_digit(c) || is_letter(c) || kMarks.find(c) != std::string_view::npos;
         });
}

bool is_lts_name(std::string_view text) {
  return text == "lts/*" || (text.starts_with("lts/") && is_version_name(text.substr(4)));
}

bool is_environment_of_pyenv(std::string_view text) {
  constexpr std::string_view kBetween = "/envs/";
  const auto at = text.find(kBetween);
  return at != std::string_view::npos && is_version_name(text.substr(0, at)) &&
         is_version_name(text.substr(at + kBetween.size()));
}

bool is_gemset_name(std::string_view text) {
  return is_version_name(text) && text.find_first_of(":@") == std::string_view::npos;
}

bool is_same_version(std::string_view wanted, std::string_view installed) {
  return wanted == installed || bare(wanted) == bare(installed);
}

std::optional<std::string> highest(const std::vector<std::string>& installed) {
  const auto found = std::max_element(installed.begin(), installed.end(), is_older);
  return found == installed.end() ? std::nullopt : std::optional(*found);
}

std::optional<std::string> best_match(std::string_view wanted,
                                      const std::vector<std::string>& installed) {
  std::optional<std::string> best;
  for (const std::string& candidate : installed) {
    if (candidate == wanted) return candidate;
    if (is_same_version(wanted, candidate)) best = candidate;
  }
  if (best) return best;
  // "3.4.0" is a release, and not its preview.
  const bool is_whole = std::count(wanted.begin(), wanted.end(), '.') >= 2;
  for (const std::string& candidate : installed)
    if (begins_with(bare(wanted), bare(candidate)) && !(is_whole && is_preview(candidate)) &&
        (!best || is_older(*best, candidate)))
      best = candidate;
  return best;
}

}  // namespace drover::environ
