// The log is standard error, and standard error may be a file that is reopened when it was rotated.
#pragma once

#include <string>
#include <string_view>

namespace drover::prefork {

/// Writes "TIME [PID] text" in one write(2), so that lines of several processes do not mix; nothing
/// with -q. A log that is closed or full is no error, and a pipe that nobody reads stops nobody:
/// the line is lost.
void log(std::string_view text);
/// The same for what went wrong: also with -q.
void complain(std::string_view text);

/// Makes `path` the standard error of this process, appending; nothing when `path` is empty. Called
/// again, it opens the file anew: that is all there is to log rotation. Throws Error, and then
/// standard error is what it was.
void log_to(const std::string& path);

}  // namespace drover::prefork
