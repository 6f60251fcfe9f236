// The same work on many things, on all processors.
#pragma once

#include <cstddef>
#include <functional>

namespace drover::os {

/// Calls `work(begin, end)` for ranges that together cover 0 to `count`, from up to four threads,
/// and returns when all are done. Few things, or no room for a thread: in the calling thread alone.
/// `work` must not throw.
void in_parallel(size_t count, const std::function<void(size_t, size_t)>& work);

}  // namespace drover::os
