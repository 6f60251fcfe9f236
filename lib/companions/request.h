// Requests to a manager of companions, and refusals: those of gunicorn's companion manager, and
// drover's own words beside them.
#pragma once

#include <string>

#include "lib/control/server.h"
#include "lib/os/clock.h"

namespace drover::companions {

/// Requests say "cmd", as the original's do, or "command", as drover's. One without
/// either has an empty command. Throws control::Refused.
control::Request parse_request(std::string_view line);
/// {"ok":false,"error":...,"message":...,"code":...,"reason":...}
control::Json refusal(std::string_view code, std::string_view reason);

/// Many requests a connection, each at most 30 s behind the one before.
control::Limits request_limits();

/// Whether it waits for what it asks for: drover's form always, the original's with "wait".
bool waits(const control::Request& request);
/// Whether it is in drover's form.
bool is_in_own_form(const control::Request& request);

bool has_name(const control::Request& request);
/// Throws control::Refused when there is none.
std::string required_name(const control::Request& request);
/// "timeout", from now on.
os::Deadline limit_of(const control::Request& request);

/// The last line of an answer, with the "id" of its request.
void finish(const control::Request& request, control::Reply& reply, control::Json answer);

}  // namespace drover::companions
