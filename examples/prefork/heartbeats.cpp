#include "examples/prefork/heartbeats.h"

#include <sys/mman.h>

#include <cerrno>
#include <memory>

#include "lib/os/error.h"

namespace drover::prefork {

Heartbeats::Heartbeats() {
  void* const memory = ::mmap(nullptr, kMostWorkers * sizeof(Place), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw Error(errno, "share memory with the workers");
  auto* const first = static_cast<Place*>(memory);
  std::uninitialized_value_construct_n(first, kMostWorkers);
  places_ = {first, kMostWorkers};
}

Heartbeats::~Heartbeats() { ::munmap(places_.data(), places_.size_bytes()); }

void Heartbeats::begin(int worker) noexcept {
  places_[static_cast<size_t>(worker)] = Clock::now().time_since_epoch().count();
}

void Heartbeats::done(int worker) noexcept { places_[static_cast<size_t>(worker)] = 0; }

std::optional<Clock::time_point> Heartbeats::busy_since(int worker) const noexcept {
  const int64_t since = places_[static_cast<size_t>(worker)];
  if (since == 0) return std::nullopt;
  return Clock::time_point(Clock::duration(since));
}

}  // namespace drover::prefork
