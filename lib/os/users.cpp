#include "lib/os/users.h"

#include <pwd.h>

#include <cstdio>
#include <map>
#include <memory>

namespace drover::os {

namespace {

struct User {
  std::string name;
  std::string home;
};

const std::map<uid_t, User>& users() {
  static const std::map<uid_t, User> all = [] {
    std::map<uid_t, User> found;
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/etc/passwd", "re"), std::fclose);
    if (!file) return found;
    while (const passwd* entry = ::fgetpwent(file.get()))
      found.emplace(entry->pw_uid, User{entry->pw_name, entry->pw_dir});
    return found;
  }();
  return all;
}

}  // namespace

std::string user_name(uid_t uid) {
  const auto user = users().find(uid);
  return user == users().end() ? std::to_string(uid) : user->second.name;
}

std::string home_of(uid_t uid) {
  const auto user = users().find(uid);
  return user == users().end() ? "" : user->second.home;
}

}  // namespace drover::os
