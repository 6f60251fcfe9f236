// The one table of exit codes (sysexits.h, and the shell's for wrappers).
#pragma once

namespace drover::cli {

enum Exit : int {
  kDone = 0,            ///< done, or: the condition holds
  kNo = 1,              ///< the answer is no: still held, not held, refused
  kUsage = 64,          ///< the command line is wrong
  kBadData = 65,        ///< a file's content is wrong
  kNoInput = 66,        ///< no such lock, or nobody ever held it
  kUnavailable = 69,    ///< nobody there
  kBug = 70,            ///< our fault
  kSystem = 71,         ///< the system refused: out of memory, processes, descriptors
  kCannotCreate = 73,   ///< a file could not be made
  kTryLater = 75,       ///< may work in a moment
  kNotAllowed = 77,     ///< permission
  kConfiguration = 78,  ///< it cannot work as it is set up
  kWrapperFailed = 125,
  kNotExecutable = 126,
  kNotFound = 127,
};

/// The code for an errno value, for every program but the wrappers.
Exit exit_code_for(int err) noexcept;

}  // namespace drover::cli
