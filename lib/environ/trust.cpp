#include "lib/environ/trust.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "lib/environ/small_file.h"
#include "lib/os/error.h"
#include "lib/os/fd.h"
#include "lib/os/users.h"

namespace drover::environ {
namespace {

constexpr int kMostLinks = 40;  // as the kernel

}  // namespace

Trust::Trust(Edit& edit, bool insecure) : edit_(edit), user_(::geteuid()), insecure_(insecure) {}

void Trust::check_one(const struct stat& st, const std::string& path, bool is_way) {
  if (st.st_uid != 0 && st.st_uid != user_)
    throw Error::because(
        EPERM, "trust", path, fmt::format("it belongs to {}", os::user_name(st.st_uid)),
        user_ == 0 ? "for root, all of it has to belong to root: run it as that user"
                   : "it has to belong to the user that runs it, or to root");
  if (S_ISLNK(st.st_mode)) return;
  const bool sticky_way = is_way && S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX) != 0;
  if ((st.st_mode & S_IWOTH) != 0 && !sticky_way)
    throw Error::because(EPERM, "trust", path, "everybody may write to it",
                         fmt::format("chmod o-w '{}'", path));
  if ((st.st_mode & S_IWGRP) != 0 && st.st_gid != 0 && !sticky_way && warned_.insert(path).second)
    edit_.warn(path, "its group may write to it");
}

void Trust::check_way(const std::string& path) {
  if (insecure_) return;
  std::string at = "/";
  std::string rest = normal_path(path);
  for (int links = 0; !rest.empty();) {
    const auto begin = rest.find_first_not_of('/');
    if (begin == std::string::npos) break;
    const auto end = std::min(rest.find('/', begin), rest.size());
    const std::string name = rest.substr(begin, end - begin);
    rest.erase(0, end);
    if (name == ".") continue;
    if (name == "..") {
      at.erase(std::max<size_t>(at.rfind('/'), 1));
      continue;
    }
    const std::string here = fmt::format("{}/{}", at == "/" ? "" : at, name);
    struct stat st {};
    if (::lstat(here.c_str(), &st) != 0) throw Error(errno, "look at", here);
    check_one(st, here, rest.find_first_not_of('/') != std::string::npos);
    if (!S_ISLNK(st.st_mode)) {
      at = here;
      continue;
    }
    std::array<char, 4096> target;
    const ssize_t size = ::readlink(here.c_str(), target.data(), target.size());
    if (size < 0) throw Error(errno, "follow link", here);
    if (size == 0 || ++links > kMostLinks) throw Error(ELOOP, "follow link", here);
    rest.insert(0, target.data(), static_cast<size_t>(size));
    if (rest.starts_with('/')) at = "/";
  }
}

std::string Trust::read(const std::string& path, size_t limit) {
  const os::Fd file = os::try_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file) throw Error(errno, "read", path);
  const struct stat st = os::stat_of(file.get(), path);
  if (!S_ISREG(st.st_mode)) throw Error::because(EINVAL, "read", path, "it is no regular file");
  if (!insecure_) check_one(st, path, false);
  auto text = read_rest(file.get(), limit);
  if (text) return std::move(*text);
  if (errno == EFBIG)
    throw Error::because(EBADMSG, "read", path, fmt::format("it is longer than {} bytes", limit));
  throw Error(errno, "read", path);
}

void refuse_elevated() {
  if (::getauxval(AT_SECURE) != 0)
    throw Error::because(EPERM, "run", std::nullopt,
                         "it has rights that its caller has not (setuid, setgid or capabilities)");
}

}  // namespace drover::environ
