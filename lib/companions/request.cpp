#include "lib/companions/request.h"

#include <fmt/core.h>

#include <map>

namespace drover::companions {

using control::Json;
using control::Refused;
using control::Request;

Json refusal(std::string_view code, std::string_view reason) {
  static const std::map<std::string_view, std::string_view> kOwn = {{"usage", "bad-request"},
                                                                    {"not_allowed", "denied"},
                                                                    {"too_long", "too-long"},
                                                                    {"late", "timeout"}};
  const auto own = kOwn.find(code);
  return {{"ok", false},
          {"error", reason},
          {"message", reason},
          {"code", own == kOwn.end() ? code : own->second},
          {"reason", reason}};
}

Request parse_request(std::string_view line) {
  if (line.find('\0') != std::string_view::npos || !Json::accept(line))
    throw Refused("bad-json", "invalid JSON");
  if (line[line.find_first_not_of(" \t\r")] != '{')
    throw Refused("bad-request", "request must be a JSON object");
  Request request{.command = "", .members = {}};
  try {
    request.members = control::parse_object(line);
  } catch (const Refused& refused) {
    throw Refused("bad-request", refused.what());
  }
  for (const char* name : {"cmd", "command"})
    if (const auto found = request.members.find(name);
        found != request.members.end() && found->is_string())
      request.command = found->get<std::string>();
  return request;
}

control::Limits request_limits() {
  control::Limits limits;
  limits.connections = 64;
  limits.one_request = false;
  limits.patience = std::chrono::seconds(30);
  return limits;
}

bool is_in_own_form(const Request& request) { return request.members.contains("command"); }

bool waits(const Request& request) { return is_in_own_form(request) || request.flag("wait"); }

bool has_name(const Request& request) {
  const auto found = request.members.find("name");
  return found != request.members.end() && !found->is_null();
}

std::string required_name(const Request& request) {
  const auto found = request.members.find("name");
  if (found == request.members.end() || !found->is_string())
    throw Refused("bad-request", fmt::format("'{}' requires a 'name'", request.command));
  return found->get<std::string>();
}

os::Deadline limit_of(const Request& request) {
  const auto found = request.members.find("timeout");
  if (found == request.members.end() || found->is_null()) return std::nullopt;
  const double seconds = found->is_number() ? found->get<double>() : -1;
  if (!(seconds >= 0 && seconds <= 1e8))
    throw Refused("bad-request", "'timeout' is no number of seconds");
  return std::chrono::steady_clock::now() +
         std::chrono::duration_cast<std::chrono::steady_clock::duration>(
             std::chrono::duration<double>(seconds));
}

void finish(const Request& request, control::Reply& reply, Json answer) {
  if (const auto id = request.members.find("id"); id != request.members.end()) answer["id"] = *id;
  reply.finish(answer);
}

}  // namespace drover::companions
