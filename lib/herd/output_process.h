// drover-output: the small process that stands between a server's output and the herd's, so that
// the server can go on writing when the herd was killed.
#pragma once

#include <array>

#include "lib/herd/output_ring.h"
#include "lib/os/process.h"

namespace drover::herd {

/// Its name in /proc/PID/comm, and where its descriptors stand: a later herd finds them there.
constexpr const char* kOutputName = "drover-output";
constexpr std::array<int, kStreams> kOutputPipes = {0, 3};
constexpr std::array<int, kStreams> kOutputSinks = {1, 2};
constexpr int kOutputRing = 4;

struct Copying {
  std::array<int, kStreams> pipes;  ///< read ends, not blocking; -1: there is none
  std::array<int, kStreams> sinks;  ///< where it goes
  const OutputRing* ring;
};

/// Forks the process and returns when it has closed everything else, a lock for instance. It is a
/// child of ours in a session of its own, in "/", with every signal blocked: only SIGKILL ends it,
/// and the end of file of both pipes. It first passes on what its predecessor with this ring had
/// taken and not yet passed on. It blocks where a sink does, both streams then; what a sink refuses
/// (EPIPE, ENOSPC) is dropped. No memory of its own but its stack, no wake-up while nothing is
/// written.
///
/// May be called while other threads run. Throws Error when the system has no room for a process,
/// and ENOSYS on a kernel without close_range(2) (Linux 5.9).
os::Process start_copying(const Copying& what);

/// Whether that child of ours is such a process, and none of the server.
bool copies_output(pid_t child);

}  // namespace drover::herd
