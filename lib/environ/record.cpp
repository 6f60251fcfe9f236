#include "lib/environ/record.h"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>

#include "lib/environ/protocol.h"

namespace drover::environ {
namespace {

constexpr size_t kLongest = 120000;  // a variable may have 131072 bytes, execve(2)

/// Variables that each generation computes anew, and those of the servers' own protocols, are not.
bool is_recorded(std::string_view name) {
  return name != "PWD" && name != "OLDPWD" && !name.starts_with("DROVER_") && !is_protocol(name);
}

std::string escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == ' ' || c == '%') {
      escaped += c == ' ' ? "%20" : "%25";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::optional<std::string> unescape(std::string_view text) {
  std::string plain;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      plain += text[at];
      continue;
    }
    unsigned char byte = 0;
    if (at + 2 >= text.size()) return std::nullopt;
    const char* const last = text.data() + at + 3;
    const auto [end, error] = std::from_chars(text.data() + at + 1, last, byte, 16);
    if (error != std::errc{} || end != last || byte == 0) return std::nullopt;
    plain += static_cast<char>(byte);
    at += 2;
  }
  return plain;
}

struct Record {
  std::vector<std::string> added;
  std::vector<Variable> changed;
  std::vector<std::string> parts;
};

bool read_word(std::string_view word, Record& record) {
  const char kind = word.front();
  word.remove_prefix(1);
  if (kind == '-') {
    const auto equals = word.find('=');
    if (equals == std::string_view::npos || equals == 0) return false;
    auto name = unescape(word.substr(0, equals));
    auto value = unescape(word.substr(equals + 1));
    if (!name || !value || !is_recorded(*name) || name->find('=') != std::string::npos ||
        (*name == "PATH" && value->empty()))
      return false;
    record.changed.push_back({std::move(*name), std::move(*value)});
    return true;
  }
  auto text = unescape(word);
  if (!text || text->empty()) return false;
  if (kind == ':') {
    record.parts.push_back(std::move(*text));
    return true;
  }
  if (kind != '+' || *text == "PATH" || !is_recorded(*text) || text->find('=') != std::string::npos)
    return false;
  record.added.push_back(std::move(*text));
  return true;
}

std::optional<Record> read_record(std::string_view text) {
  if (text.size() > kLongest) return std::nullopt;
  Record record;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (end == at || !read_word(text.substr(at, end - at), record)) return std::nullopt;
    at = end + 1;
  }
  return record;
}

/// Whether the list `now` is `before` with further components, the old ones in their order.
bool only_adds(const std::string& before, const std::string& now) {
  const auto old_parts = split_list(before);
  auto next = old_parts.begin();
  for (const auto& part : split_list(now))
    if (next != old_parts.end() && part == *next) ++next;
  return next == old_parts.end();
}

std::string join_within_limit(std::vector<std::string> words, std::vector<std::string>& lost) {
  size_t size = 0;
  for (const auto& word : words)
    size += word.size() + 1;
  std::vector<size_t> longest(words.size());
  std::iota(longest.begin(), longest.end(), 0U);
  std::sort(longest.begin(), longest.end(), [&](size_t a, size_t b) {
    return std::pair(words[b].size(), a) < std::pair(words[a].size(), b);
  });
  for (auto next = longest.begin(); size > kLongest; ++next) {
    std::string& word = words[*next];
    lost.push_back(word.substr(1, word.find('=') - 1));
    size -= word.size() + 1;
    word.clear();
  }
  std::string record;
  for (const auto& word : words)
    if (!word.empty()) record += (record.empty() ? "" : " ") + word;
  return record;
}

}  // namespace

std::string make_record(const Block& before, const Block& after, std::vector<std::string>& lost) {
  std::vector<std::string> words;
  for (const auto& [name, value] : after.variables())
    if (is_recorded(name) && !before.has(name)) words.push_back("+" + escape(name));
  for (const auto& [name, value] : before.variables()) {
    const std::string* now = after.find(name);
    const bool changed =
        now == nullptr || (name == "PATH" ? !only_adds(value, *now) : *now != value);
    if (is_recorded(name) && changed) words.push_back("-" + escape(name) + "=" + escape(value));
  }
  const auto old_parts = split_list(before.value("PATH"));
  for (const auto& part : split_list(after.value("PATH")))
    if (!part.empty() && std::find(old_parts.begin(), old_parts.end(), part) == old_parts.end())
      words.push_back(":" + escape(part));
  return join_within_limit(std::move(words), lost);
}

std::string pack_words(const std::vector<std::string>& words) {
  std::string packed;
  for (const auto& word : words)
    packed += escape(word) + " ";
  return packed;
}

std::vector<std::string> unpack_words(std::string_view packed) {
  std::vector<std::string> words;
  for (auto end = packed.find(' '); end != std::string_view::npos; end = packed.find(' ')) {
    words.push_back(unescape(packed.substr(0, end)).value_or(""));
    packed.remove_prefix(end + 1);
  }
  return words;
}

void revert_record(Edit& edit) {
  edit.because("DROVER_STATE");
  const std::string* text = edit.block().find(kRecordName);
  if (text == nullptr) return;
  const auto record = read_record(*text);
  if (record) {
    for (const auto& name : record->added)
      edit.unset(name);
    for (const auto& [name, value] : record->changed)
      edit.set(name, value);
    edit.drop_own_parts("PATH", record->parts);
  } else {
    edit.warn(kRecordName, "it is damaged; what an earlier drover-exec set stays");
  }
  edit.unset(kRecordName);
}

}  // namespace drover::environ
