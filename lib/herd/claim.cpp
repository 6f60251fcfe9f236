#include "lib/herd/claim.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>

#include "lib/flock/lock_file.h"

namespace drover::herd {

Claim claim_service(const std::string& lock_path) {
  const auto file = flock::LockFile::open_or_create(lock_path, 0600);
  Claim claim{true, {}};
  if (!file.doubtful_file_system().empty()) return claim;
  claim.fd = os::try_open(fmt::format("/proc/self/fd/{}", file.fd()), O_RDWR | O_NOCTTY);
  if (!claim.fd) return claim;
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  claim.ours =
      ::fcntl(claim.fd.get(), F_OFD_SETLK, &range) == 0 || (errno != EAGAIN && errno != EACCES);
  if (!claim.ours) claim.fd.reset();
  return claim;
}

}  // namespace drover::herd
