#include "lib/os/folder_signal.h"

#include <fcntl.h>

#include <cerrno>

#include "lib/os/error.h"

namespace drover::os {

FolderSignal::FolderSignal(const std::string& folder)
    : folder_(try_open(folder, O_RDONLY | O_DIRECTORY)) {
  if (!folder_ || ::fcntl(folder_.get(), F_NOTIFY, DN_CREATE | DN_RENAME | DN_MULTISHOT) != 0)
    throw Error(errno, "watch folder", folder);
}

}  // namespace drover::os
