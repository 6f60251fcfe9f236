#include "lib/companions/spec.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "lib/os/error.h"
#include "lib/os/fd.h"
#include "lib/os/users.h"

namespace drover::companions {
namespace {

constexpr const char* kTried = "use companions";
constexpr size_t kLongestFile = 1 << 20;

std::string read_whole(const std::string& path) {
  const os::Fd file = os::try_open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK);
  if (!file) throw Error(errno, "open", path);
  const struct stat st = os::stat_of(file.get(), path);
  if (!S_ISREG(st.st_mode)) throw Error::because(EINVAL, kTried, path, "it is no regular file");
  if (st.st_uid != 0 && st.st_uid != ::geteuid())
    throw Error::because(
        EPERM, kTried, path, fmt::format("it belongs to {}", os::user_name(st.st_uid)),
        "what is in it is run: it has to belong to root or to the user that runs it");
  if ((st.st_mode & S_IWOTH) != 0)
    throw Error::because(EPERM, kTried, path, "everybody may write to it",
                         fmt::format("chmod o-w '{}'", path));
  std::string text;
  std::array<char, 16384> piece;
  for (;;) {
    const ssize_t size = ::read(file.get(), piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) throw Error(errno, "read", path);
    if (size == 0) return text;
    text.append(piece.data(), static_cast<size_t>(size));
    if (text.size() > kLongestFile)
      throw Error::because(EFBIG, kTried, path, "it is longer than 1 MiB");
  }
}

}  // namespace

bool applies_live(const std::string& key) {
  static const std::set<std::string> live = {
      "description",    "autostart",    "restart",           "exit_codes",
      "restart_delay",  "max_restarts", "restart_max_delay", "restart_factor",
      "restart_jitter", "reset_after",  "startsecs",         "start_timeout",
      "stop_signal",    "stop_timeout", "reload_timeout",    "lock_timeout",
      "needs",          "cron",         "numprocs",          "reload",
      "handover",
  };
  return live.contains(key);
}

std::vector<std::string> differing_keys(const Spec& one, const Spec& other) {
  std::set<std::string> keys;
  const auto compare = [&keys](const Spec& from, const Spec& to) {
    for (const auto& [key, value] : from.given) {
      const auto there = to.given.find(key);
      if (there == to.given.end() || there->second != value) keys.insert(key);
    }
  };
  compare(one, other);
  compare(other, one);
  if (one.lock != other.lock) keys.insert("lock");
  return {keys.begin(), keys.end()};
}

Specs read_specs(const std::string& path, const std::string& run_dir) {
  return parse_specs(read_whole(path), path, run_dir);
}

}  // namespace drover::companions
