#include "lib/os/users.h"

#include <pwd.h>

#include <cstdio>
#include <map>
#include <memory>

namespace drover::os {

std::string user_name(uid_t uid) {
  static const std::map<uid_t, std::string> names = [] {
    std::map<uid_t, std::string> found;
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/etc/passwd", "re"), std::fclose);
    if (!file) return found;
    while (const passwd* entry = ::fgetpwent(file.get()))
      found.emplace(entry->pw_uid, entry->pw_name);
    return found;
  }();
  const auto name = names.find(uid);
  return name == names.end() ? std::to_string(uid) : name->second;
}

}  // namespace drover::os
