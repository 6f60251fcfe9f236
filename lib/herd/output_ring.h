// The memory that drover-output shares with the herd: the last of what the server wrote, and how
// far the copying has got.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "lib/os/fd.h"

namespace drover::herd {

/// The server's standard output and standard error, in this order wherever there are two.
constexpr size_t kStreams = 2;

/// One stream. Positions are bytes since the beginning; a byte stands at its position modulo the
/// ring's size. Written by one process, read by others.
struct StreamRing {
  /// What a reader can rely on, and what the writer may be overwriting at the moment.
  static constexpr size_t kKept = size_t{16} << 10;
  static constexpr size_t kAtOnce = size_t{4} << 10;
  static constexpr size_t kSize = kKept + kAtOnce;

  std::atomic<uint64_t> taken;   ///< out of the pipe
  std::atomic<uint64_t> passed;  ///< written to where it belongs, or dropped
  std::atomic<uint32_t> busy;    ///< bytes are on their way from the pipe to `taken`
  std::array<char, kSize> bytes;

  static_assert(std::atomic<uint64_t>::is_always_lock_free);
};

/// What is left of a stream from a position on.
struct Remainder {
  std::string text;
  bool cut = false;  ///< its beginning is not kept any more
};

/// A memfd_create(2) file, mapped for as long as this lives: no anonymous memory, and it can be
/// found again through /proc/PID/fd of a process that has it open. Sealed against a change of its
/// size, which would be SIGBUS for who reads it.
class OutputRing {
 public:
  /// A new, empty one. Throws Error.
  static OutputRing create();
  /// The one that a descriptor in /proc names; empty when it is none.
  static std::optional<OutputRing> open(const std::string& path);
  OutputRing(OutputRing&& other) noexcept;
  OutputRing& operator=(OutputRing&& other) noexcept;
  ~OutputRing();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] StreamRing& stream(size_t at) const noexcept;
  /// Everything from `position` on, at most the last 16 KiB. Safe while the other side writes.
  [[nodiscard]] Remainder since(size_t stream, uint64_t position) const;

 private:
  struct Memory;
  OutputRing(os::Fd fd, Memory* memory) noexcept : fd_(std::move(fd)), memory_(memory) {}
  static Memory* map(const os::Fd& fd) noexcept;

  os::Fd fd_;
  Memory* memory_;
};

}  // namespace drover::herd
