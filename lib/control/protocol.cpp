#include "lib/control/protocol.h"

#include <fmt/core.h>

#include <set>
#include <vector>

namespace drover::control {
namespace {

Refused wrong(const std::string& reason) { return {"usage", reason}; }

/// Sees each piece of a document while it is read, and stops at the first that may not be.
class Strict {
 public:
  explicit Strict(const Bounds& bounds) : bounds_(bounds) {}

  bool operator()(int, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        if (names_.size() == bounds_.depth)
          throw wrong(fmt::format("it is nested deeper than {} levels", bounds_.depth));
        names_.emplace_back();
        break;
      case Event::object_end:
      case Event::array_end:
        names_.pop_back();
        break;
      case Event::key:
        add(parsed.get_ref<const std::string&>());
        break;
      case Event::value:
        break;
    }
    if (++seen_ > 2 * bounds_.values)
      throw wrong(fmt::format("it has more than {} values", bounds_.values));
    return true;
  }

 private:
  void add(const std::string& name) {
    if (!names_.back().insert(name).second) throw wrong(fmt::format("'{}' is there twice", name));
  }

  Bounds bounds_;
  size_t seen_ = 0;
  std::vector<std::set<std::string>> names_;  ///< of each object that is still open
};

}  // namespace

Json refusal(std::string_view code, std::string_view reason) {
  return {{"ok", false}, {"code", code}, {"reason", reason}};
}

std::string as_line(const Json& object) {
  Json whole = {{"v", kVersion}};
  whole.update(object);
  return whole.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json parse_object(std::string_view line, const Bounds& bounds) {
  // The parser would take a NUL for the end, and skip a byte order mark.
  if (line.find('\0') != std::string_view::npos) throw wrong("it has a NUL byte");
  const auto first = line.find_first_not_of(" \t\r");
  if (first == std::string_view::npos || line[first] != '{') throw wrong("it is no JSON object");
  Json object;
  try {
    object = Json::parse(line, Strict(bounds));
  } catch (const Json::parse_error& error) {
    throw wrong(fmt::format("it is no JSON in UTF-8, at byte {}", error.byte));
  } catch (const Json::exception&) {
    throw wrong("it has a number that is too large");
  }
  const auto version = object.find("v");
  if (version != object.end() && *version != kVersion)
    throw wrong(fmt::format("only version {} is spoken here", kVersion));
  return object;
}

std::optional<std::string> Request::text(const std::string& name) const {
  const auto found = members.find(name);
  if (found == members.end() || found->is_null()) return std::nullopt;
  if (!found->is_string() || found->get_ref<const std::string&>().empty())
    throw wrong(fmt::format("'{}' is no text", name));
  return found->get<std::string>();
}

std::string Request::required_text(const std::string& name) const {
  auto value = text(name);
  if (!value) throw wrong(fmt::format("'{}' needs a '{}'", command, name));
  return std::move(*value);
}

std::optional<uint64_t> Request::number(const std::string& name) const {
  const auto found = members.find(name);
  if (found == members.end() || found->is_null()) return std::nullopt;
  if (!found->is_number_unsigned()) throw wrong(fmt::format("'{}' is no integer from 0", name));
  return found->get<uint64_t>();
}

bool Request::flag(const std::string& name) const {
  const auto found = members.find(name);
  if (found == members.end() || found->is_null()) return false;
  if (!found->is_boolean()) throw wrong(fmt::format("'{}' is neither true nor false", name));
  return found->get<bool>();
}

Request parse_request(std::string_view line) {
  Request request{.command = "request", .members = parse_object(line)};
  request.command = request.required_text("command");
  return request;
}

Refused unknown_command(const Request& request) {
  return wrong(fmt::format("the command '{}' is not known here", request.command));
}

}  // namespace drover::control
