// Generations: one inode per life of a service. "Free" is a level, and a successor that locks at
// once can be missed by a waiter that was just woken. A generation made by `begin_generation`
// cannot: it is a new file, put in the old one's place while the old one is held exclusively, so
// whoever waits on the old file is woken and cannot be captured by the new one.
//
// The lock file of such a generation says its number, "generation 7"; an empty lock file is
// generation 0. A waiter that finds a higher number at the path than on the file it waited for
// knows that its generation has ended, and that the path was not merely replaced under a living
// service.
#pragma once

#include <optional>

#include "lib/flock/lock_file.h"

namespace drover::flock {

/// The number that the file states. Empty when it holds something else: then it is not drover's.
std::optional<unsigned> generation_of(const LockFile& file);

struct Generation {
  Acquired acquired;
  std::optional<LockFile> file;  ///< held in the asked mode; only with Acquired::yes
};

/// Waits, as long as `patience` says, until nobody holds the lock file at `path`, and puts a new
/// one in its place, held in `mode` before it can be seen. Where there is no file, makes generation
/// 0. Throws Error when the folder cannot be written, or when the file there is not a lock file of
/// ours. Killed at any point it leaves the old file or the new one, and at most "PATH.new", which
/// the next call replaces.
Generation begin_generation(const std::string& path, Mode mode, mode_t file_mode,
                            const Patience& patience);

}  // namespace drover::flock
