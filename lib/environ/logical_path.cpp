#include "lib/environ/logical_path.h"

#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "lib/environ/edit.h"
#include "lib/os/error.h"

namespace drover::environ {

std::optional<os::FileId> file_behind(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return std::nullopt;
  return os::id_of(st);
}

std::string logical_folder(const Block& environment) {
  const std::string named = environment.value("PWD");
  struct stat here {};
  struct stat there {};
  if (named.starts_with('/') && ::stat(".", &here) == 0 && ::stat(named.c_str(), &there) == 0 &&
      os::id_of(here) == os::id_of(there))
    return normal_path(named);
  std::error_code gone;
  return std::filesystem::current_path(gone).string();
}

std::string logical_path(const std::string& path, const std::string& folder) {
  if (!path.starts_with('/') && folder.empty())
    throw Error::because(ENOENT, "find", path, "the current folder does not exist any more");
  const std::string full = normal_path(path.starts_with('/') ? path : folder + "/" + path);
  // ".." by name, if that is the same file: through a link it may not be.
  const std::string plain = std::filesystem::path(full).lexically_normal().string();
  const auto there = file_behind(full);
  return there && there == file_behind(plain) ? plain : full;
}

}  // namespace drover::environ
