// How drover-ls writes what it found.
#pragma once

#include <string>
#include <vector>

#include "lib/flock/inspect.h"

namespace drover::ls {

struct Style {
  bool tree = false;     ///< indent the command by the process tree
  bool open = false;     ///< list processes that have the file open without a lock
  bool waiters = false;  ///< list processes blocked for the lock
};

/// A table for each lock, and notes on what looks like trouble.
std::string as_text(const std::vector<flock::LockReport>& reports, const Style& style);
/// One object, {"v":1,"locks":[...]}; bytes that are no UTF-8 become U+FFFD.
std::string as_json(const std::vector<flock::LockReport>& reports, const Style& style);

}  // namespace drover::ls
