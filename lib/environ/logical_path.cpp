#include "lib/environ/logical_path.h"

#include <sys/stat.h>

#include <filesystem>

#include "lib/environ/edit.h"

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
  const std::string real = os::absolute(".");
  return real.substr(0, real.size() - 2);
}

std::string logical_path(const std::string& path, const std::string& folder) {
  const std::string full = normal_path(path.starts_with('/') ? path : folder + "/" + path);
  // ".." by name, if that is the same file: through a link it may not be.
  const std::string plain = std::filesystem::path(full).lexically_normal().string();
  const auto there = file_behind(full);
  return there && there == file_behind(plain) ? plain : full;
}

}  // namespace drover::environ
