#include "lib/os/users.h"

#include <grp.h>
#include <pwd.h>

#include <charconv>
#include <cstdio>
#include <map>
#include <memory>

namespace drover::os {

namespace {

struct User {
  std::string name;
  std::string home;
};

using File = std::unique_ptr<FILE, int (*)(FILE*)>;
File open_file(const char* path) { return {std::fopen(path, "re"), std::fclose}; }

const std::map<uid_t, User>& users() {
  static const std::map<uid_t, User> all = [] {
    std::map<uid_t, User> found;
    const File file = open_file("/etc/passwd");
    if (!file) return found;
    while (const passwd* entry = ::fgetpwent(file.get()))
      found.emplace(entry->pw_uid, User{entry->pw_name, entry->pw_dir});
    return found;
  }();
  return all;
}

std::optional<unsigned> number_of(const std::string& text) {
  unsigned number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  // The last number means "nobody at all" to setuid(2) and its like.
  if (error != std::errc{} || end != last || number == ~0U) return std::nullopt;
  return number;
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

std::optional<UserIds> find_user(const std::string& name) {
  const auto number = number_of(name);
  if (const File file = open_file("/etc/passwd"))
    while (const passwd* entry = ::fgetpwent(file.get()))
      if (name == entry->pw_name || (number && *number == entry->pw_uid))
        return UserIds{entry->pw_uid, entry->pw_gid};
  if (!number) return std::nullopt;
  return UserIds{*number, *number};
}

std::optional<gid_t> find_group(const std::string& name) {
  if (const File file = open_file("/etc/group"))
    while (const group* entry = ::fgetgrent(file.get()))
      if (name == entry->gr_name) return entry->gr_gid;
  return number_of(name);
}

}  // namespace drover::os
