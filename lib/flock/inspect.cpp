#include "lib/flock/inspect.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>

#include "lib/flock/generation.h"
#include "lib/flock/lock_file.h"
#include "lib/flock/share.h"
#include "lib/flock/wait.h"
#include "lib/os/error.h"
#include "lib/os/parallel.h"
#include "lib/os/procfs.h"

namespace drover::flock {
namespace {

struct Target {
  std::string path;
  os::FileId id;
  std::string deleted_name;  ///< what /proc/PID/fd/N says of a file deleted from the path
};

double seconds_since_boot() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::string command_line(pid_t pid, const std::string& comm) {
  std::string text = os::read_proc(fmt::format("/proc/{}/cmdline", pid), 4096);
  // A server that sets its title leaves the rest of its argument area as zeros.
  while (!text.empty() && (text.back() == '\0' || text.back() == ' '))
    text.pop_back();
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text.empty() ? "[" + comm + "]" : text;
}

/// The path in the unified hierarchy ("0::"), or in systemd's own on a hybrid machine.
std::string cgroup_path(pid_t pid) {
  const std::string text = os::read_proc(fmt::format("/proc/{}/cgroup", pid), 1 << 14);
  std::string found;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    const auto systemd = line.find(":name=systemd:");
    if (systemd != std::string_view::npos) return std::string(line.substr(systemd + 14));
    if (line.starts_with("0::")) found = line.substr(3);
    at = end + 1;
  }
  return found;
}

bool link_is_deleted(pid_t pid, const char* name) {
  std::array<char, 4096> target;
  const ssize_t size =
      ::readlink(fmt::format("/proc/{}/{}", pid, name).c_str(), target.data(), target.size());
  return size > 0 &&
         std::string_view(target.data(), static_cast<size_t>(size)).ends_with(" (deleted)");
}

/// Whether it is but a zombie, with no other thread that lives on.
bool has_ended(const os::ProcessStat& stat) { return stat.zombie() && stat.threads < 2; }

/// Fills in what /proc tells of the process. False when it has ended.
bool describe(Opener& opener) {
  const pid_t pid = opener.pid;
  struct stat st {};
  const auto stat = os::read_stat(pid);
  if (!stat || has_ended(*stat)) return false;
  if (::stat(fmt::format("/proc/{}", pid).c_str(), &st) != 0) return false;
  opener.uid = st.st_uid;
  opener.parent = stat->parent;
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  opener.age_s = std::max(0.0, seconds_since_boot() - static_cast<double>(stat->start) / ticks);
  opener.name = stat->command;
  opener.command = command_line(pid, stat->command);
  opener.cgroup = cgroup_path(pid);
  opener.unit = unit_of(opener.cgroup);
  opener.folder_deleted = link_is_deleted(pid, "cwd");
  opener.executable_deleted = link_is_deleted(pid, "exe");
  return true;
}

/// The openers that still live, with what /proc tells of them.
std::vector<Opener> describe_all(std::vector<Opener> openers) {
  std::vector<char> lives(openers.size());
  os::in_parallel(openers.size(), [&](size_t begin, size_t end) {
    for (size_t at = begin; at < end; ++at)
      lives[at] = describe(openers[at]) ? 1 : 0;
  });
  std::vector<Opener> living;
  for (size_t at = 0; at < openers.size(); ++at)
    if (lives[at] != 0) living.push_back(std::move(openers[at]));
  return living;
}

Description make_description(const Group& shares) {
  Description description;
  description.mode = shares.front().held.mode.value_or(LockMode::shared);
  description.taker = shares.front().held.taker;
  const auto taker = os::read_stat(description.taker);
  description.taker_alive = taker && !has_ended(*taker);
  std::map<pid_t, std::vector<HeldFd>> by_process;
  for (const Share& share : shares)
    by_process[share.pid].push_back(share.held);
  for (auto& [pid, fds] : by_process) {
    description.holders.emplace_back();
    description.holders.back().pid = pid;
    description.holders.back().fds = std::move(fds);
  }
  description.holders = describe_all(std::move(description.holders));
  return description;
}

/// Whether some thread of the process is in flock(2) on this descriptor. /proc/locks would not do:
/// it hides its rows in a pid namespace in which the lock's taker is dead.
bool is_waiting(const Share& share) {
  const std::string call = fmt::format("{} 0x{:x} ", SYS_flock, share.held.fd);
  const auto threads = os::threads_of(share.pid);
  return std::any_of(threads.begin(), threads.end(), [&](pid_t thread) {
    return os::read_proc(fmt::format("/proc/{}/task/{}/syscall", share.pid, thread))
        .starts_with(call);
  });
}

class Inspection {
 public:
  explicit Inspection(const std::vector<std::string>& paths) {
    for (const auto& path : paths) {
      const auto file = LockFile::open(path);
      if (!file)
        throw Error::because(ENOENT, "look at", path, "there is no such lock file",
                             hint_of_deleted(path));
      targets_.push_back({path, file->id(), os::canonical(path) + " (deleted)"});
      files_.push_back(file->id());
      reports_.emplace_back();
      reports_.back().path = path;
      reports_.back().generation = generation_of(*file).value_or(0);
    }
    std::sort(files_.begin(), files_.end());
  }

  std::vector<LockReport> run() {
    scan();
    for (size_t at = 0; at < targets_.size(); ++at)
      finish(targets_[at], reports_[at]);
    return std::move(reports_);
  }

 private:
  void scan() {
    uninspected_ = visit_openers(files_, Whom::everybody, [this](pid_t pid, const Opened& opened) {
      for (const HeldFd& held : opened.fds) {
        if (pid == ::getpid() && !held.stays()) continue;
        auto& found = found_[held.file];
        auto& where = pid == ::getpid() ? found.own
                      : held.stays()    ? found.holding
                      : held.mode       ? found.asking
                                        : found.open;
        where.push_back({pid, held});
      }
      for (const int fd : opened.deleted)
        note_deleted(pid, fd);
    });
  }

  void note_deleted(pid_t pid, int fd) {
    std::array<char, 4096> name;
    const ssize_t size =
        ::readlink(fmt::format("/proc/{}/fd/{}", pid, fd).c_str(), name.data(), name.size());
    if (size <= 0) return;
    const std::string_view text(name.data(), static_cast<size_t>(size));
    for (size_t at = 0; at < targets_.size(); ++at) {
      auto& stale = reports_[at].stale;
      if (text == targets_[at].deleted_name && (stale.empty() || stale.back() != pid))
        stale.push_back(pid);
    }
  }

  void finish(const Target& target, LockReport& report) {
    auto& found = found_[target.id];
    report.uninspected = uninspected_;
    if (found.holding.empty()) found.holding.swap(found.own);
    auto file = LockFile::open(target.path);
    report.held = !found.holding.empty() || (file && is_held(*file));
    // Who merely asks has the lock for an instant; who has it longer is a holder of another make.
    if (report.held && found.holding.empty()) found.holding.swap(found.asking);
    for (const Group& shares : group(found.holding)) {
      report.descriptions.push_back(make_description(shares));
      if (report.descriptions.back().holders.empty()) report.descriptions.pop_back();
    }
    std::sort(report.descriptions.begin(), report.descriptions.end(),
              [](const Description& a, const Description& b) {
                return a.holders.front().pid < b.holders.front().pid;
              });
    for (const Share& share : found.open)
      if (is_waiting(share)) add(report.waiting, share);
    for (const Share& share : found.open)
      if (std::none_of(report.waiting.begin(), report.waiting.end(),
                       [&](const Opener& waiter) { return waiter.pid == share.pid; }))
        add(report.open, share);
    report.waiting = describe_all(std::move(report.waiting));
    report.open = describe_all(std::move(report.open));
    // All that were seen have ended meanwhile: is it free now?
    if (report.held && report.descriptions.empty()) report.held = file && is_held(*file);
  }

  /// One entry a process, in ascending order as they are found.
  static void add(std::vector<Opener>& openers, const Share& share) {
    if (openers.empty() || openers.back().pid != share.pid) {
      openers.emplace_back();
      openers.back().pid = share.pid;
    }
    openers.back().fds.push_back(share.held);
  }

  struct Found {
    std::vector<Share> holding;
    std::vector<Share> asking;
    std::vector<Share> own;  ///< inherited by this process: told only when nobody else holds
    std::vector<Share> open;
  };

  std::vector<Target> targets_;
  std::vector<os::FileId> files_;
  std::map<os::FileId, Found> found_;
  std::vector<LockReport> reports_;
  size_t uninspected_ = 0;
};

}  // namespace

size_t LockReport::holder_count() const {
  std::vector<pid_t> pids;
  for (const auto& description : descriptions)
    for (const auto& holder : description.holders)
      pids.push_back(holder.pid);
  std::sort(pids.begin(), pids.end());
  return static_cast<size_t>(std::unique(pids.begin(), pids.end()) - pids.begin());
}

std::string unit_of(const std::string& cgroup) {
  for (size_t end = cgroup.size(); end > 0;) {
    const size_t slash = cgroup.rfind('/', end - 1);
    const size_t begin = slash == std::string::npos ? 0 : slash + 1;
    const std::string part = cgroup.substr(begin, end - begin);
    if (part.ends_with(".service") || part.ends_with(".scope")) return part;
    if (slash == std::string::npos) break;
    end = slash;
  }
  return {};
}

std::vector<LockReport> inspect(const std::vector<std::string>& paths) {
  auto reports = Inspection(paths).run();
  // A lock that is held by nobody in sight: perhaps a process was forked behind the pass.
  const bool unseen = std::any_of(reports.begin(), reports.end(), [](const LockReport& report) {
    return report.held && report.descriptions.empty();
  });
  return unseen ? Inspection(paths).run() : reports;
}

}  // namespace drover::flock
