#include "lib/companions/keepers.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "lib/flock/holders.h"
#include "lib/flock/lock_file.h"
#include "lib/os/error.h"
#include "lib/os/procfs.h"

namespace drover::companions {
namespace {

/// Spares the search through /proc.
bool is_free(const std::string& path) {
  try {
    auto lock = flock::LockFile::open(path);
    return !lock || flock::try_acquire(*lock, flock::Mode::exclusive);
  } catch (const Error&) {
    return false;
  }
}

std::string command_of(pid_t pid) {
  std::string command = os::read_proc(fmt::format("/proc/{}/cmdline", pid), 4096);
  std::replace(command.begin(), command.end(), '\0', ' ');
  while (command.ends_with(' '))
    command.pop_back();
  if (!command.empty()) return command;
  const auto stat = os::read_stat(pid);
  return fmt::format("[{}]", stat ? stat->command : "?");
}

bool holds(const flock::HeldFd& held) { return held.mode.has_value(); }
bool passes_on(const flock::HeldFd& held) { return held.mode && held.inherited; }

}  // namespace

std::vector<Keeper> keepers_of(const std::string& lock, pid_t live) {
  std::vector<Keeper> keepers;
  const auto file = os::file_at(lock);
  if (!file || is_free(lock)) return keepers;
  const auto look = [&](pid_t pid, const flock::Opened& opened) {
    if (std::none_of(opened.fds.begin(), opened.fds.end(), holds)) return;
    if (live > 0 && descends_from(pid, live)) return;
    auto process = os::Process::open(pid);
    // Looked at again behind the pidfd: the number may have passed to a newcomer.
    const auto again = flock::look_at(pid, {&*file, 1});
    if (!process || std::none_of(again.fds.begin(), again.fds.end(), holds)) return;
    const bool is_manager = std::none_of(again.fds.begin(), again.fds.end(), passes_on);
    keepers.push_back({std::move(*process), command_of(pid), is_manager});
  };
  flock::visit_openers({&*file, 1}, flock::Whom::others, look);
  return keepers;
}

std::vector<std::pair<std::string, Keeper>> keepers_below(const std::vector<std::string>& locks,
                                                          pid_t ancestor) {
  std::vector<std::pair<os::FileId, std::string>> named;
  for (const std::string& lock : locks)
    if (const auto file = os::file_at(lock)) named.emplace_back(*file, lock);
  std::sort(named.begin(), named.end());
  std::vector<os::FileId> files;
  for (const auto& [file, lock] : named)
    files.push_back(file);
  std::vector<std::pair<std::string, Keeper>> found;
  const auto look = [&](pid_t pid, const flock::Opened& opened) {
    if (std::none_of(opened.fds.begin(), opened.fds.end(), passes_on)) return;
    auto process = os::Process::open(pid);
    if (!process || !descends_from(pid, ancestor)) return;
    for (const flock::HeldFd& held : opened.fds)
      for (const auto& [file, lock] : named)
        if (passes_on(held) && held.file == file)
          found.emplace_back(lock, Keeper{std::move(*process), command_of(pid)});
  };
  if (!files.empty()) flock::visit_openers(files, flock::Whom::others, look);
  return found;
}

std::string describe(const Keeper& keeper, const std::string& lock) {
  return fmt::format("process {} keeps the lock '{}'{}: {}", keeper.process.pid(), lock,
                     keeper.is_manager ? " for its copy" : "", keeper.command);
}

bool descends_from(pid_t pid, pid_t ancestor) {
  if (pid == ancestor) return true;
  const auto above = os::ancestors_of(pid);
  return std::find(above.begin(), above.end(), ancestor) != above.end();
}

}  // namespace drover::companions
