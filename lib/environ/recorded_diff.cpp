#include "lib/environ/recorded_diff.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

namespace drover::environ {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostEncoded = 64 << 10;
constexpr size_t kMostInflated = 4 << 20;

int sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

/// Both alphabets of RFC 4648, padded or not.
std::optional<std::string> decode_base64(std::string_view text) {
  while (text.ends_with('='))
    text.remove_suffix(1);
  std::string bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = sextet(c);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<unsigned>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 0xFFU);
    }
  }
  return bytes;
}

std::optional<std::string> inflate(std::string_view compressed) {
  z_stream stream{};
  if (::inflateInit(&stream) != Z_OK) return std::nullopt;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  std::string text;
  std::array<char, 16384> chunk;
  int result = Z_OK;
  while (result == Z_OK && text.size() <= kMostInflated) {
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = chunk.size();
    result = ::inflate(&stream, Z_NO_FLUSH);
    text.append(chunk.data(), chunk.size() - stream.avail_out);
  }
  ::inflateEnd(&stream);
  if (result != Z_STREAM_END || text.size() > kMostInflated) return std::nullopt;
  return text;
}

std::optional<std::string> unpack(const std::string& text) {
  if (text.size() > kMostEncoded) return std::nullopt;
  const auto compressed = decode_base64(text);
  return compressed ? inflate(*compressed) : std::nullopt;
}

struct Diff {
  std::vector<Variable> before;
  std::vector<Variable> after;
  std::vector<std::string> path;  ///< what was put in front of PATH
};

/// Takes {before: {name: value}, after: {...}, "path": [...]} as it is read, in either format, and
/// ends the reading at anything else that could be meant: deeper data would be a hostile one's.
class DiffReader : public nlohmann::json_sax<Json> {
 public:
  DiffReader(const char* before, const char* after) : before_(before), after_(after) {}
  Diff diff;

  bool start_object(std::size_t) override { return ++depth_ <= 2; }
  bool end_object() override { return depth_-- > 0; }
  bool start_array(std::size_t) override { return ++depth_ == 2; }
  bool end_array() override { return depth_-- > 0; }
  bool key(std::string& name) override {
    (depth_ == 1 ? member_ : name_) = name;
    return is_text(name);
  }
  bool string(std::string& value) override {
    if (depth_ != 2 || !is_text(value)) return depth_ == 1;
    if (member_ == "path") diff.path.push_back(value);
    auto* variables = member_ == before_ ? &diff.before : member_ == after_ ? &diff.after : nullptr;
    if (variables == nullptr) return true;
    variables->push_back({name_, value});
    return !name_.empty() && name_.find('=') == std::string::npos;
  }
  bool null() override { return depth_ == 1; }
  bool boolean(bool) override { return depth_ == 1; }
  bool number_integer(number_integer_t) override { return depth_ == 1; }
  bool number_unsigned(number_unsigned_t) override { return depth_ == 1; }
  bool number_float(number_float_t, const std::string&) override { return depth_ == 1; }
  bool binary(binary_t&) override { return false; }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    return false;
  }

 private:
  static bool is_text(const std::string& text) { return text.find('\0') == std::string::npos; }

  std::string before_;
  std::string after_;
  int depth_ = 0;
  std::string member_;
  std::string name_;
};

std::optional<Diff> read_diff(const std::string& text, Json::input_format_t format,
                              const char* before, const char* after) {
  const auto bytes = unpack(text);
  DiffReader reader(before, after);
  if (!bytes || !Json::sax_parse(*bytes, &reader, format)) return std::nullopt;
  return std::move(reader.diff);
}

void revert(Edit& edit, const Diff& diff) {
  for (const auto& [name, value] : diff.after)
    edit.restore(name, nullptr);
  for (const auto& [name, value] : diff.before)
    edit.restore(name, &value);
  // Each recorded part once: the user may have had the same one before.
  auto left = diff.path;
  edit.drop_parts("PATH", [&](const std::string& part) {
    const auto found = std::find(left.begin(), left.end(), part);
    if (found == left.end()) return false;
    left.erase(found);
    return true;
  });
}

}  // namespace

void revert_direnv(Edit& edit) {
  edit.because("direnv");
  if (const std::string* text = edit.block().find("DIRENV_DIFF")) {
    if (const auto diff = read_diff(*text, Json::input_format_t::json, "p", "n")) {
      revert(edit, *diff);
    } else {
      edit.warn("DIRENV_DIFF", "it cannot be read; what direnv set stays");
    }
  }
  edit.unset({"DIRENV_DIFF", "DIRENV_DIR", "DIRENV_FILE", "DIRENV_WATCHES", "DIRENV_LAYOUT",
              "DIRENV_IN_ENVRC", "DIRENV_DUMP_FILE_PATH"});
}

void revert_mise(Edit& edit) {
  edit.because("mise");
  if (const std::string* text = edit.block().find("__MISE_DIFF")) {
    if (const auto diff = read_diff(*text, Json::input_format_t::msgpack, "old", "new")) {
      revert(edit, *diff);
    } else {
      edit.warn("__MISE_DIFF", "it cannot be read; what mise set stays, but for its own folders");
    }
  }
  edit.unset("MISE_SHELL");
  edit.unset_with_prefix("__MISE_");
}

}  // namespace drover::environ
