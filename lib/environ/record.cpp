#include "lib/environ/record.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace drover::environ {
namespace {

constexpr size_t kLongest = 64 << 10;

/// Variables that each generation computes anew, and those of the servers' own protocols.
bool is_recorded(std::string_view name) {
  return name != "PATH" && name != "PWD" && name != "OLDPWD" && !name.starts_with("DROVER_");
}

std::string escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7F || c == '%') {
      escaped += fmt::format("%{:02X}", byte);
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
    if (!name || !value || !is_recorded(*name)) return false;
    record.changed.push_back({std::move(*name), std::move(*value)});
    return true;
  }
  auto text = unescape(word);
  if (!text || text->empty()) return false;
  if (kind == ':') {
    record.parts.push_back(std::move(*text));
    return true;
  }
  if (kind != '+' || !is_recorded(*text) || text->find('=') != std::string::npos) return false;
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

}  // namespace

std::string make_record(const Block& before, const Block& after) {
  std::string record;
  const auto say = [&](char kind, const std::string& text) {
    record += fmt::format("{}{}{}", record.empty() ? "" : " ", kind, text);
  };
  for (const auto& [name, value] : after.variables())
    if (is_recorded(name) && !before.has(name)) say('+', escape(name));
  for (const auto& [name, value] : before.variables()) {
    const std::string* now = after.find(name);
    if (is_recorded(name) && (now == nullptr || *now != value))
      say('-', escape(name) + "=" + escape(value));
  }
  const auto old_parts = split_list(before.value("PATH"));
  for (const auto& part : split_list(after.value("PATH")))
    if (!part.empty() && std::find(old_parts.begin(), old_parts.end(), part) == old_parts.end())
      say(':', escape(part));
  return record;
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
    edit.drop_parts("PATH", [&](const std::string& part) {
      return std::find(record->parts.begin(), record->parts.end(), part) != record->parts.end();
    });
  } else {
    edit.warn(kRecordName, "it is damaged; what an earlier drover-exec set stays");
  }
  edit.unset(kRecordName);
}

}  // namespace drover::environ
