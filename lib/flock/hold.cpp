#include "lib/flock/hold.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "lib/flock/generation.h"
#include "lib/flock/holders.h"
#include "lib/flock/pidfile.h"
#include "lib/os/error.h"

namespace drover::flock {
namespace {

constexpr int kFirstHigh = 1025;
constexpr const char* kIsPidfile = "PIDFILE.lock is the lock: see --pidfile of drover-hold";

LockFile open_and_lock(const HoldRequest& request, const std::string& path, Acquired& acquired) {
  for (;;) {
    LockFile file = LockFile::open_or_create(path, request.file_mode);
    acquired = acquire(file, request.mode, request.patience);
    if (acquired != Acquired::yes || file.at_path()) return file;
  }
}

/// The file's own descriptor, from now on inherited.
os::Fd keep(LockFile& file) {
  os::set_inherited(file.fd(), true);
  return file.release();
}

os::Fd place_exactly(LockFile& file, int number) {
  if (file.fd() == number) return keep(file);
  if (os::is_open(number)) throw Error(EBUSY, "use descriptor", std::to_string(number));
  os::Fd fd = os::duplicate(file.fd(), number, true);
  if (!fd)
    throw Error(errno, "use descriptor", std::to_string(number),
                errno == EINVAL ? "it is above the limit of descriptors (ulimit -Hn)" : "");
  return fd;
}

os::Fd place(LockFile& file, const HoldRequest& request, Hold& result) {
  if (request.placement.kind == Placement::Kind::exactly)
    return place_exactly(file, request.placement.number);
  if (request.placement.kind == Placement::Kind::high) {
    os::Fd fd = os::duplicate(file.fd(), std::max(kFirstHigh, request.first_free), true);
    if (fd) return fd;
    result.warnings.push_back(fmt::format(
        "no descriptor above {} can be had (ulimit -Hn): using a low one, which unicorn "
        "closes when it re-executes itself",
        kFirstHigh - 1));
  }
  // open(2) gave the lowest that is free.
  if (file.fd() >= request.first_free) return keep(file);
  os::Fd fd = os::duplicate(file.fd(), request.first_free, true);
  if (!fd) throw Error(errno, "duplicate the descriptor of", file.path());
  return fd;
}

bool is_well_placed(int fd, const Placement& placement) {
  switch (placement.kind) {
    case Placement::Kind::high:
      return fd >= kFirstHigh;
    case Placement::Kind::exactly:
      return fd == placement.number;
    case Placement::Kind::low:
      return true;
  }
  return true;
}

/// The lock of the file at `path` that this process was born with: by a descriptor that is where it
/// is asked for, if there is one.
std::optional<HeldFd> inherited_lock(const std::string& path, const Placement& placement) {
  const auto file = os::file_at(path);
  if (!file) return std::nullopt;
  std::optional<HeldFd> found;
  for (const HeldFd& held : look_at_self({&*file, 1}).fds) {
    if (!held.mode || !held.inherited) continue;
    if (!found || is_well_placed(held.fd, placement)) found = held;
  }
  return found;
}

void look_for_pidfile(const LockFile& file, Hold& result) {
  if (!file.path().ends_with(".pid")) return;
  refuse_pidfile(file.path());
  result.warnings.push_back(fmt::format("'{}' is named like a pidfile, which a server replaces; {}",
                                        file.path(), kIsPidfile));
}

}  // namespace

void refuse_pidfile(const std::string& path) {
  if (path.ends_with(".pid") && read_pidfile(path).pid)
    throw Error::because(EINVAL, "lock", path, "it is a pidfile", kIsPidfile);
}

int first_free_descriptor(const char* listen_fds) noexcept {
  constexpr int kMost = 1 << 20;
  const std::string_view text = listen_fds == nullptr ? "" : listen_fds;
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const bool valid = error == std::errc{} && end == text.data() + text.size();
  return valid && count > 0 && count < kMost ? 3 + count : 3;
}

Hold hold(const HoldRequest& request) {
  Hold result;
  result.path = os::absolute(request.path);
  if (const auto held = inherited_lock(result.path, request.placement)) {
    if (request.new_generation ||
        (request.mode == Mode::exclusive && *held->mode == LockMode::shared))
      throw Error::because(EDEADLK, "lock", result.path, "this process inherited a lock of it",
                           "the wait would be for itself: start it outside the held tree");
    result.nested = true;
    if (is_well_placed(held->fd, request.placement)) {
      result.fd = os::Fd(held->fd);
    } else {  // another number for the same lock
      const os::RaisedDescriptorLimit raised;
      LockFile copy = LockFile::adopt(held->fd, result.path);
      os::Fd fd = place(copy, request, result);
      const bool better = is_well_placed(fd.get(), request.placement);
      result.fd = better ? std::move(fd) : os::Fd(held->fd);
    }
    return result;
  }

  const os::RaisedDescriptorLimit raised;
  std::optional<LockFile> file;
  if (request.new_generation) {
    auto [acquired, fresh] =
        begin_generation(result.path, request.mode, request.file_mode, request.patience);
    result.acquired = acquired;
    file = std::move(fresh);
  } else {
    file = open_and_lock(request, result.path, result.acquired);
  }
  if (result.acquired != Acquired::yes) return result;

  look_for_pidfile(*file, result);
  if (const std::string kind = file->doubtful_file_system(); !kind.empty())
    result.warnings.push_back(fmt::format(
        "'{}' is on {}, where a lock may not be seen by every process: put it under /run",
        result.path, kind));
  file->touch();
  result.fd = place(*file, request, result);
  return result;
}

Acquired adopt(int fd, const std::string& path, Mode mode, const Patience& patience) {
  LockFile file = LockFile::adopt(fd, path.empty() ? fmt::format("descriptor {}", fd) : path);
  if (!path.empty() && !file.at_path())
    throw Error::because(EINVAL, "adopt descriptor", std::to_string(fd),
                         fmt::format("it is not the file '{}'", path));
  const auto held = lock_mode_of_own(fd);
  if (held == (mode == Mode::shared ? LockMode::shared : LockMode::exclusive)) {
    file.touch();
    return Acquired::yes;
  }
  if (held)  // flock(2): a conversion gives the old lock up first, and may lose it
    throw Error::because(EBUSY, "adopt descriptor", std::to_string(fd),
                         "it is locked already, in the other mode");
  const Acquired acquired = acquire(file, mode, patience);
  if (acquired == Acquired::yes) file.touch();
  return acquired;
}

}  // namespace drover::flock
