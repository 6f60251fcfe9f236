// User names, from /etc/passwd alone: a static program has no NSS.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace drover::os {

/// The user's name, or the number when /etc/passwd has none.
std::string user_name(uid_t uid);
struct UserIds {
  uid_t uid = 0;
  gid_t gid = 0;
};
/// By name or by number; a number needs no entry, its group is then the same number. Empty when
/// there is no such user.
std::optional<UserIds> find_user(const std::string& name);
/// By name in /etc/group, or by number.
std::optional<gid_t> find_group(const std::string& name);
/// The user's home folder; empty when /etc/passwd has none.
std::string home_of(uid_t uid);

}  // namespace drover::os
