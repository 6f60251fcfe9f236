#include "lib/flock/holders.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>

#include "lib/os/parallel.h"
#include "lib/os/procfs.h"

namespace drover::flock {
namespace {

/// Reads "1: FLOCK  ADVISORY  READ  812 00:31:77 0 EOF" into `held`; false for other rows.
bool read_row(std::string_view line, HeldFd& held) {
  if (line.find(" FLOCK ") == std::string_view::npos) return false;
  const auto write = line.find(" WRITE ");
  const auto mode = write == std::string_view::npos ? line.find(" READ ") : write;
  if (mode == std::string_view::npos) return false;
  held.mode = write == std::string_view::npos ? LockMode::shared : LockMode::exclusive;
  std::string_view rest = line.substr(mode + 6);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  std::from_chars(rest.data(), rest.data() + rest.size(), held.taker);
  return true;
}

/// Reads "flags:\t02100000": the octal flags of open(2), and of exec.
void read_flags(std::string_view line, HeldFd& held) {
  unsigned long flags = 0;
  line.remove_prefix(std::min(line.find_first_of("01234567"), line.size()));
  std::from_chars(line.data(), line.data() + line.size(), flags, 8);
  held.inherited = (flags & O_CLOEXEC) == 0;
}

void read_lock(HeldFd& held, const std::string& fdinfo) {
  const std::string text = os::read_proc(fdinfo, 1 << 16);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    if (line.starts_with("flags:")) read_flags(line, held);
    if (line.starts_with("lock:") && read_row(line, held)) return;
    at = end + 1;
  }
}

/// The file behind an entry of a /proc/PID/fd folder.
struct Entry {
  int err = 0;  ///< an errno value: closed meanwhile, or not ours to look at
  os::FileId id = {};
  bool regular = false;
  bool deleted = false;
};

Entry identify(int folder, int fd) {
  std::array<char, 16> name{};
  std::to_chars(name.begin(), name.end() - 1, fd);
  struct statx st {};
  constexpr unsigned kWanted = STATX_INO | STATX_TYPE | STATX_NLINK;
  if (::statx(folder, name.data(), AT_STATX_DONT_SYNC, kWanted, &st) != 0) return {.err = errno};
  const bool regular = S_ISREG(st.stx_mode);
  return {.err = 0,
          .id = {makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino},
          .regular = regular,
          .deleted = regular && st.stx_nlink == 0};
}

/// Looks through one descriptor table, /proc/PID or /proc/PID/task/TID. False when it was empty.
bool look_in(const std::string& table, Files files, Opened& opened) {
  os::NumberedDir dir(table + "/fd");
  if (!dir) {
    opened.readable = errno != EACCES && errno != EPERM;
    return true;
  }
  bool any = false;
  for (int fd; (fd = dir.next()) >= 0; any = true) {
    const Entry entry = identify(dir.fd(), fd);
    if (entry.err == EACCES || entry.err == EPERM) {
      opened.readable = false;
      return true;
    }
    if (entry.err != 0) continue;  // closed meanwhile
    if (entry.deleted) opened.deleted.push_back(fd);
    if (!std::binary_search(files.begin(), files.end(), entry.id)) continue;
    opened.fds.push_back({.fd = fd, .file = entry.id, .mode = {}, .inherited = false, .taker = 0});
    read_lock(opened.fds.back(), fmt::format("{}/fdinfo/{}", table, fd));
  }
  if (dir.error() != 0) opened.readable = false;
  std::sort(opened.fds.begin(), opened.fds.end(),
            [](const HeldFd& a, const HeldFd& b) { return a.fd < b.fd; });
  return any;
}

}  // namespace

std::optional<LockMode> lock_mode_of_own(int fd) {
  HeldFd held;
  read_lock(held, fmt::format("/proc/self/fdinfo/{}", fd));
  return held.mode;
}

bool Opened::holding() const {
  return std::any_of(fds.begin(), fds.end(),
                     [](const HeldFd& held) { return held.mode.has_value(); });
}

Opened look_at(pid_t pid, Files files) {
  Opened opened;
  if (look_in(fmt::format("/proc/{}", pid), files, opened)) return opened;
  // A process whose main thread has ended shows an empty table; the other threads share the real
  // one.
  for (const pid_t thread : os::threads_of(pid))
    if (thread != pid && look_in(fmt::format("/proc/{}/task/{}", pid, thread), files, opened))
      break;
  return opened;
}

Opened look_at_self(Files files) {
  Opened opened;
  look_in("/proc/self", files, opened);
  return opened;
}

size_t visit_openers(Files files, Whom whom,
                     const std::function<void(pid_t, const Opened&)>& visit) {
  std::vector<pid_t> pids = os::all_processes();
  if (whom == Whom::others) std::erase(pids, ::getpid());
  std::vector<Opened> seen(pids.size());
  os::in_parallel(pids.size(), [&](size_t begin, size_t end) {
    for (size_t at = begin; at < end; ++at)
      seen[at] = look_at(pids[at], files);
  });
  size_t unreadable = 0;
  for (size_t at = 0; at < pids.size(); ++at) {
    if (!seen[at].readable) ++unreadable;
    if (!seen[at].fds.empty() || !seen[at].deleted.empty()) visit(pids[at], seen[at]);
  }
  return unreadable;
}

std::map<std::string, pid_t> deleted_files_in_use() {
  constexpr std::string_view kMark = " (deleted)";
  std::map<std::string, pid_t> found;
  std::string target(PATH_MAX, '\0');
  visit_openers({}, Whom::others, [&](pid_t pid, const Opened& opened) {
    for (const int fd : opened.deleted) {
      const std::string link = fmt::format("/proc/{}/fd/{}", pid, fd);
      const ssize_t size = ::readlink(link.c_str(), target.data(), target.size());
      std::string_view path(target.data(), static_cast<size_t>(std::max<ssize_t>(size, 0)));
      if (!path.ends_with(kMark)) continue;
      path.remove_suffix(kMark.size());
      found.emplace(path, pid);
    }
  });
  return found;
}

std::string hint_of_deleted(const std::string& path, const std::map<std::string, pid_t>& in_use) {
  const auto found = in_use.find(os::canonical(path));
  if (found == in_use.end()) return {};
  return fmt::format("process {} still has a lock file open that was deleted from there",
                     found->second);
}

Sight look_for_holder(const os::FileId& file, LockMode wanted) {
  Sight sight = Sight::nobody;
  for (const pid_t pid : os::all_processes()) {
    for (const HeldFd& held : look_at(pid, {&file, 1}).fds) {
      const bool in_the_way = held.mode == LockMode::exclusive || wanted == LockMode::exclusive;
      if (held.stays() && in_the_way) return Sight::holder;
      if (held.mode && in_the_way) sight = Sight::asker;
    }
  }
  return sight;
}

bool is_listed_as_shared(const os::FileId& file) {
  const std::string table = os::read_proc("/proc/locks");
  const std::string subject =
      fmt::format(" {:02x}:{:02x}:{} ", major(file.dev), minor(file.dev), file.ino);
  for (size_t at = 0; at < table.size();) {
    const size_t end = std::min(table.find('\n', at), table.size());
    const std::string_view row = std::string_view(table).substr(at, end - at);
    const bool waits = row.find(" -> ") != std::string_view::npos;
    HeldFd held;
    if (!waits && row.find(subject) != std::string_view::npos && read_row(row, held) &&
        held.mode == LockMode::shared)
      return true;
    at = end + 1;
  }
  return false;
}

std::vector<os::FileId> held_in_sight(Files files) {
  std::vector<os::FileId> found;
  visit_openers(files, Whom::everybody, [&](pid_t, const Opened& opened) {
    for (const HeldFd& held : opened.fds)
      if (held.stays()) found.push_back(held.file);
  });
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

std::vector<LockAbove> locks_held_above() {
  std::vector<LockAbove> locks;
  std::vector<pid_t> chain;
  if (os::proc_is_ours()) chain = os::ancestors_of(::getpid());
  chain.insert(chain.begin(), ::getpid());
  for (const pid_t pid : chain) {
    const std::string folder = pid == ::getpid() ? "/proc/self" : fmt::format("/proc/{}", pid);
    os::NumberedDir dir(folder + "/fd");
    if (!dir) continue;
    for (int fd; (fd = dir.next()) >= 0;) {
      const Entry entry = identify(dir.fd(), fd);
      if (!entry.regular) continue;
      HeldFd held;
      read_lock(held, fmt::format("{}/fdinfo/{}", folder, fd));
      if (held.mode) locks.push_back({pid, entry.id});
    }
  }
  return locks;
}

}  // namespace drover::flock
