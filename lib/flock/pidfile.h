// A pidfile: a hint, never the truth. What it names is signalled only after it was verified
// (lib/herd/masters.h).
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "lib/os/process.h"

namespace drover::flock {

/// The number in a pidfile: digits, perhaps with blanks and newlines around them, from 1 to the
/// kernel's largest pid (2^22). Empty for anything else.
std::optional<pid_t> parse_pid(std::string_view text);

struct Pidfile {
  std::optional<pid_t> pid;
  std::string problem;  ///< why there is no pid: "there is no such file", "it is empty" ...
};

/// Reads at most 64 bytes. Never blocks, a FIFO in its place included; never throws for its
/// content.
Pidfile read_pidfile(const std::string& path);

/// The process that it names, held fast, when it lives. No proof that it has written the file.
std::optional<os::Process> named_process(const std::string& path);

/// Whether the process was there when the file was written, give or take 2 s. After the clock was
/// set the answer may be wrong: files are dated by the clock, processes by the time since the boot.
bool can_have_written(const os::Process& process, const std::string& path);

/// Removes a pidfile that a service left when it was killed, for whoever knows that the service has
/// ended: a server that finds it would refuse to start, for ever when the number has become another
/// process's. Of a symbolic link the file behind it is removed. Stale is one whose process does not
/// live, or was started more than 2 s after the file was written, which the master that wrote it
/// cannot have been. Returns the number that it held; empty when nothing was removed. Throws Error
/// when the folder cannot be written.
std::optional<pid_t> remove_stale_pidfile(const std::string& path);

}  // namespace drover::flock
