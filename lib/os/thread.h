// Threads for one blocking system call each: a thousand of them cost about 4 MB.
#pragma once

#include <functional>

namespace drover::os {

/// Runs `body` in a detached thread with a small stack and every signal blocked. `body` must not
/// throw. Throws Error when the system has no room for a thread.
void start_detached(std::function<void()> body);

}  // namespace drover::os
