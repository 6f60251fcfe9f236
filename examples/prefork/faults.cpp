#include "examples/prefork/faults.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string_view>
#include <utility>

#include "lib/cli/program.h"

namespace drover::prefork {
namespace {

constexpr std::array<std::pair<std::string_view, Fault>, 10> kNames{{
    {"slow-boot", Fault::slow_boot},
    {"boot-failure", Fault::boot_failure},
    {"hang-boot", Fault::hang_boot},
    {"worker-failure", Fault::worker_failure},
    {"hang-worker", Fault::hang_worker},
    {"crash-workers", Fault::crash_workers},
    {"ignore-quit", Fault::ignore_quit},
    {"close-descriptors", Fault::close_descriptors},
    {"close-all-descriptors", Fault::close_all_descriptors},
    {"leak-child", Fault::leak_child},
}};

std::optional<Fault> fault_named(std::string_view name) {
  const auto* const found = std::find_if(kNames.begin(), kNames.end(),
                                         [&](const auto& entry) { return entry.first == name; });
  return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

/// What follows `mark` in `text`, taken off it. Empty when it is no number; `otherwise` without
/// mark.
template <typename T>
std::optional<T> take_number(std::string_view& text, char mark, T otherwise) {
  const auto at = text.find(mark);
  if (at == std::string_view::npos) return otherwise;
  const std::string_view digits = text.substr(at + 1);
  text = text.substr(0, at);
  T number{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || end != digits.data() + digits.size() || number < 0)
    return std::nullopt;
  return number;
}

void add_words(std::vector<std::string>& words, std::string_view text) {
  constexpr std::string_view kBetween = ", \t\r\n";
  for (size_t at = 0; (at = text.find_first_not_of(kBetween, at)) != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = end;
  }
}

}  // namespace

Faults::Faults(const std::vector<std::string>& words, int generation) {
  for (const std::string& word : words)
    add(word, generation);
}

void Faults::add(const std::string& word, int generation) {
  std::string_view name = word == "reload-failure" ? "boot-failure@1" : std::string_view(word);
  const auto first_generation = take_number(name, '@', 0);
  const auto seconds = take_number(name, '=', 1.0);
  const auto fault = fault_named(name);
  if (!first_generation || !seconds || !fault)
    throw cli::UsageError(fmt::format("'{}' is no fault", word));
  if (generation >= *first_generation) chosen_.push_back({*fault, *seconds});
}

bool Faults::has(Fault fault) const noexcept {
  return std::any_of(chosen_.begin(), chosen_.end(),
                     [&](const Chosen& one) { return one.fault == fault; });
}

double Faults::seconds(Fault fault) const noexcept {
  double total = 0;
  for (const Chosen& one : chosen_)
    if (one.fault == fault) total += one.seconds;
  return total;
}

std::vector<std::string> collect_faults(const std::vector<std::string>& options, const char* text,
                                        const std::string& file) {
  std::vector<std::string> words;
  for (const std::string& option : options)
    add_words(words, option);
  if (text != nullptr) add_words(words, text);
  std::ifstream stream(file);
  add_words(words, std::string(std::istreambuf_iterator<char>(stream), {}));
  return words;
}

}  // namespace drover::prefork
