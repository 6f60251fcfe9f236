// How drover-ctl shows what a server answered. Servers of other versions leave members out and add
// others: what is missing, or of another type, is left out.
#pragma once

#include <string>

#include "lib/control/protocol.h"

namespace drover::ctl {

using control::Json;

/// The member, or null.
const Json& member(const Json& object, const std::string& name);
/// A text or a number as a person reads it, on one line; empty when it is neither.
std::string text(const Json& object, const std::string& name);
/// `otherwise` when it is no number.
double number(const Json& object, const std::string& name, double otherwise = 0);
/// "250 ms", "3.2 s", "12 min".
std::string time_text(double seconds);

/// The answer of any command but `timeline`; empty when there is nothing to say.
std::string as_text(const Json& answer);
/// The answers of a manager of companions; empty when it is none of them.
std::string companions_text(const Json& answer);
/// "reload 4 done in 3.2 s, 123 follows 111".
std::string verdict(const Json& reload);
/// A line of `events`.
std::string event_text(const Json& event);

/// The steps of a reload, one under the other, as bars on its time; `width` columns.
std::string bars(const Json& reload, size_t width);
/// The same as a list of Chrome's trace events, for chrome://tracing and Perfetto.
std::string trace(const Json& reload);

}  // namespace drover::ctl
