#include "lib/cli/exit_codes.h"

#include <cerrno>

namespace drover::cli {

Exit exit_code_for(int err) noexcept {
  switch (err) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case EINVAL:
    case ENXIO:
    case ENAMETOOLONG:
      return kNoInput;
    case EACCES:
    case EPERM:
      return kNotAllowed;
    case ECONNREFUSED:
      return kUnavailable;
    case EBADMSG:
      return kBadData;
    case EROFS:
    case ENOSPC:
    case EDQUOT:
      return kCannotCreate;
    case EDEADLK:
    case ENOPKG:
      return kConfiguration;
    default:
      return kSystem;
  }
}

}  // namespace drover::cli
