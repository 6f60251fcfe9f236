#include "lib/flock/wait.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "lib/flock/departure.h"
#include "lib/flock/generation.h"
#include "lib/os/error.h"
#include "lib/os/memory.h"
#include "lib/os/procfs.h"

namespace drover::flock {
namespace {

constexpr auto kReaping = std::chrono::milliseconds(100);
constexpr const char* kStartHint = "--start TIME waits for the first holder";

[[noreturn]] void throw_not_held(const std::string& path, const char* reason) {
  std::string hint = hint_of_deleted(path);
  if (hint.empty() && os::file_at(path + ".lock"))
    hint = fmt::format("there is '{}.lock': perhaps that one is meant", path);
  throw Error::because(ENOENT, "wait for", path, reason, hint.empty() ? kStartHint : hint);
}

}  // namespace

LockFile open_held(const std::string& path) {
  for (;;) {
    auto file = LockFile::open(path);
    if (!file) throw_not_held(path, "there is no such lock file");
    if (is_held(*file)) return std::move(*file);
    // Or a new generation has put its own file there meanwhile.
    if (file->at_path()) throw_not_held(path, "nobody holds it");
  }
}

std::vector<LockFile> open_all_held(const std::vector<std::string>& paths) {
  std::vector<LockFile> files;
  std::vector<os::FileId> ids;
  for (const auto& path : paths) {
    auto file = LockFile::open(path);
    if (!file) throw_not_held(path, "there is no such lock file");
    ids.push_back(file->id());
    files.push_back(std::move(*file));
  }
  std::sort(ids.begin(), ids.end());
  const auto held = held_in_sight(ids);
  for (auto& file : files) {
    const bool seen = std::binary_search(held.begin(), held.end(), file.id());
    if (!seen && !is_held(file)) file = open_held(file.path());
  }
  return files;
}

void throw_nobody_came(const std::string& path) {
  throw Error::because(ENOENT, "wait for", path, "nobody came to hold it in time");
}

void refuse_inside_held_tree(const std::vector<LockAbove>& above, const LockFile& file) {
  // The topmost: that is the service's first process.
  const auto lock = std::find_if(above.rbegin(), above.rend(), [&](const LockAbove& candidate) {
    return candidate.file == file.id();
  });
  if (lock == above.rend()) return;
  throw Error::because(EDEADLK, "wait for", file.path(),
                       lock->pid == ::getpid()
                           ? "this process inherited the lock and would wait for itself"
                           : fmt::format("process {}, which started this one, holds it", lock->pid),
                       "start the waiting process outside of what drover-hold started");
}

Afterlife afterlife(const LockFile& freed) {
  if (freed.at_path()) return Afterlife::gone;
  try {
    auto next = LockFile::open(freed.path());
    if (!next) return Afterlife::gone;
    const auto before = generation_of(freed);
    const auto now = generation_of(*next);
    if (before && now && *now > *before) return Afterlife::restarted;
    return is_held(*next) ? Afterlife::replaced : Afterlife::gone;
  } catch (const Error&) {
    return Afterlife::gone;  // what stands there now is no lock
  }
}

void report_end(const os::Process& master, const Notice& notice) {
  // The kernel knows once the parent has reaped it, which init does at once.
  const auto status = master.exit_status(std::chrono::steady_clock::now() + kReaping);
  if (status) notice(fmt::format("master {} {}", master.pid(), status->describe()));
}

RootHolders::RootHolders(const LockFile& file) {
  std::vector<pid_t> pids;
  visit_openers({&file.id(), 1}, Whom::others, [&](pid_t pid, const Opened& opened) {
    if (opened.holding()) pids.push_back(pid);
  });
  for (const pid_t pid : pids) {
    auto process = os::Process::open(pid);
    const auto stat = os::read_stat(pid);
    if (!process || !stat || std::binary_search(pids.begin(), pids.end(), stat->parent)) continue;
    processes_.push_back(std::move(*process));
  }
}

void RootHolders::report(const Notice& notice) const {
  for (const os::Process& process : processes_)
    report_end(process, notice);
}

void wait_until_gone(const std::string& path, bool report, const Notice& notice) {
  LockFile file = open_held(path);
  refuse_inside_held_tree(locks_held_above(), file);
  for (;;) {
    const Departure departure(file);
    std::optional<RootHolders> masters;
    if (report) masters.emplace(file);
    os::release_free_memory();
    wait_until_free(file);
    const Afterlife next = afterlife(file);
    if (next != Afterlife::replaced) {
      departure.settle(file);
      if (masters) masters->report(notice);
      if (next == Afterlife::restarted)
        notice(fmt::format("'{}' has ended and was started anew", path));
      return;
    }
    notice(fmt::format("'{}' names another file now: waiting for that one", path));
    if (auto replacement = LockFile::open(path)) file = std::move(*replacement);
  }
}

}  // namespace drover::flock
