#include "lib/control/shared_name.h"

#include <dirent.h>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>

#include "lib/control/address.h"
#include "lib/control/folder_lock.h"
#include "lib/os/error.h"

namespace drover::control {
namespace {

constexpr std::string_view kEnd = ".sock";

std::string_view stem_of(std::string_view shared) {
  return shared.ends_with(kEnd) ? shared.substr(0, shared.size() - kEnd.size()) : shared;
}

std::string_view end_of(std::string_view shared) { return shared.substr(stem_of(shared).size()); }

/// What connect(2) says: 0 when somebody listens at the socket file.
int knock(const std::string& path) {
  try {
    const Address address(path);
    const os::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe) return errno;
    const bool is_taken = ::connect(probe.get(), address.get(), address.size()) == 0;
    return is_taken || errno == EAGAIN ? 0 : errno;
  } catch (const Error& error) {
    return error.err();
  }
}

std::optional<struct stat> look_at(const std::string& path) noexcept {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return std::nullopt;
  return st;
}

bool is_newer(const struct stat& one, const struct stat& other) {
  return std::pair(one.st_mtim.tv_sec, one.st_mtim.tv_nsec) >
         std::pair(other.st_mtim.tv_sec, other.st_mtim.tv_nsec);
}

}  // namespace

std::string own_name(const std::string& shared, int pid) {
  return fmt::format("{}.{}{}", stem_of(shared), pid, end_of(shared));
}

SharedName::SharedName(const std::string& shared, const std::string& own)
    : shared_(os::absolute(shared)),
      own_(os::absolute(own)),
      id_(os::file_at(own_).value_or(os::FileId{})) {
  const os::Fd locked = lock_folder(os::split_path(shared_).first);
  const auto there = look_at(shared_);
  if (there && !S_ISSOCK(there->st_mode))
    throw Error::because(EEXIST, "make socket", shared_, "a file that is no socket is there",
                         "choose another name, or remove the file");
  if (there && knock(shared_) == 0 && !is_shared(os::id_of(*there)))
    throw Error::because(EADDRINUSE, "make socket", shared_, "another process answers there");
  lead_to(own_);
  // Whoever makes one listens before it lets the folder go: see SocketFile.
  for (const std::string& other : others())
    if (locked && knock(other) == ECONNREFUSED) ::unlink(other.c_str());
}

SharedName::~SharedName() {
  const os::Fd locked = lock_folder(os::split_path(shared_).first);
  if (os::file_at(shared_) != id_) return;
  const std::string other = newest_other();
  try {
    if (!other.empty()) lead_to(other);
  } catch (const Error&) {  // it has gone meanwhile
  }
  if (os::file_at(shared_) == id_) ::unlink(shared_.c_str());
}

void SharedName::lead_to(const std::string& own) const {
  const std::string beside = own + ".new";
  ::unlink(beside.c_str());  // of one that was killed between the next two lines
  if (::link(own.c_str(), beside.c_str()) != 0 || ::rename(beside.c_str(), shared_.c_str()) != 0) {
    const int failed = errno;
    ::unlink(beside.c_str());
    throw Error(failed, "make socket", shared_);
  }
  ::unlink(beside.c_str());  // rename(2) leaves it when both are one file already
}

std::vector<std::string> SharedName::others() const {
  const auto [folder, name] = os::split_path(shared_);
  const std::string stem = std::string(stem_of(name)) + ".";
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(folder.c_str()), ::closedir);
  std::vector<std::string> found;
  while (const dirent* entry = entries ? ::readdir(entries.get()) : nullptr) {
    std::string_view middle = entry->d_name;
    if (!middle.starts_with(stem) || !middle.ends_with(end_of(name))) continue;
    middle.remove_prefix(stem.size());
    middle.remove_suffix(std::min(end_of(name).size(), middle.size()));
    const bool is_number = !middle.empty() && middle.find_first_not_of("0123456789") == middle.npos;
    const std::string path = folder + "/" + entry->d_name;
    const auto st = look_at(path);
    if (is_number && path != own_ && st && S_ISSOCK(st->st_mode)) found.push_back(path);
  }
  return found;
}

/// Whether it is the socket of a server of our kind.
bool SharedName::is_shared(const os::FileId& id) const {
  const auto all = others();
  return std::any_of(all.begin(), all.end(),
                     [&](const std::string& path) { return os::file_at(path) == id; });
}

std::string SharedName::newest_other() const {
  std::string newest;
  std::optional<struct stat> newest_stat;
  for (const std::string& path : others()) {
    const auto st = look_at(path);
    if (!st || knock(path) != 0 || (newest_stat && !is_newer(*st, *newest_stat))) continue;
    newest = path;
    newest_stat = st;
  }
  return newest;
}

}  // namespace drover::control
