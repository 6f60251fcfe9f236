#include "lib/os/parallel.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

namespace drover::os {
namespace {

// Below this a thread costs more than it saves.
constexpr size_t kWorthwhile = 512;
constexpr size_t kMostThreads = 4;

}  // namespace

void in_parallel(size_t count, const std::function<void(size_t, size_t)>& work) {
  const size_t processors =
      std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMostThreads);
  const size_t parts = count < kWorthwhile ? 1 : processors;
  std::vector<std::thread> helpers;
  size_t begin = 0;
  try {
    for (size_t part = 1; part < parts; ++part) {
      const size_t end = begin + count / parts;
      helpers.emplace_back(work, begin, end);
      begin = end;
    }
  } catch (const std::system_error&) {
    // No room for one more thread: the rest is done here.
  }
  work(begin, count);
  for (auto& helper : helpers)
    helper.join();
}

}  // namespace drover::os
