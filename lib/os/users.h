// User names, from /etc/passwd alone: a static program has no NSS.
#pragma once

#include <sys/types.h>

#include <string>

namespace drover::os {

/// The user's name, or the number when /etc/passwd has none.
std::string user_name(uid_t uid);
/// The user's home folder; empty when /etc/passwd has none.
std::string home_of(uid_t uid);

}  // namespace drover::os
