// Reloads as a file that chrome://tracing and Perfetto show: the trace event format's JSON array,
// whose closing bracket may be missing, so that a file can be appended to.
#pragma once

#include <string>

#include "lib/herd/reload.h"

namespace drover::herd {

/// Appends the steps of a reload, in microseconds of the monotonic clock, as the thread `number` of
/// this process. Makes the file, mode 0644, when it is missing. Throws Error.
void append_trace(const std::string& path, int number, const ReloadReport& report);

}  // namespace drover::herd
