#include "lib/herd/generation.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "lib/os/procfs.h"

namespace drover::herd {
namespace {

struct Children {
  std::vector<pid_t> forked;
  std::vector<pid_t> executed;
};

Children living_children_of(pid_t master) {
  Children children;
  for (const pid_t child : os::children_of(master)) {
    const auto stat = os::read_stat(child);
    if (!stat || stat->zombie() || stat->exiting()) continue;
    (stat->only_forked() ? children.forked : children.executed).push_back(child);
  }
  return children;
}

/// Empty when it is gone, or may not be looked into.
std::string program_of(pid_t pid) {
  std::array<char, 4096> path;
  const ssize_t size =
      ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), path.data(), path.size());
  std::string program(path.data(), size < 0 ? 0 : static_cast<size_t>(size));
  constexpr std::string_view kDeleted = " (deleted)";  // a new version is in its place
  if (program.ends_with(kDeleted)) program.resize(program.size() - kDeleted.size());
  return program;
}

}  // namespace

std::vector<pid_t> workers_of(pid_t master, const std::vector<pid_t>& masters) {
  Children children = living_children_of(master);
  if (!children.forked.empty()) return std::move(children.forked);
  std::erase_if(children.executed, [&](pid_t child) {
    return std::find(masters.begin(), masters.end(), child) != masters.end();
  });
  return std::move(children.executed);
}

std::vector<pid_t> forked_children_of(pid_t master) { return living_children_of(master).forked; }

std::vector<pid_t> executed_children_of(pid_t master) {
  return living_children_of(master).executed;
}

std::vector<pid_t> successors_of(pid_t master) {
  const auto program = program_of(master);
  std::vector<pid_t> children = living_children_of(master).executed;
  std::erase_if(children, [&](pid_t child) { return program_of(child) != program; });
  return children;
}

std::vector<os::Process> tree_of(pid_t pid, const std::function<bool(pid_t)>& but) {
  std::vector<os::Process> tree;
  std::vector<pid_t> next{pid};
  for (size_t at = 0; at < next.size(); ++at) {
    auto process = os::Process::open(next[at]);
    if (!process) continue;
    auto children = os::children_of(next[at]);
    if (but) std::erase_if(children, but);
    if (!process->alive() && children.empty()) continue;
    next.insert(next.end(), children.begin(), children.end());
    tree.push_back(std::move(*process));
  }
  return tree;
}

bool none_lives(const std::vector<os::Process>& processes) {
  return std::none_of(processes.begin(), processes.end(),
                      [](const os::Process& process) { return process.alive(); });
}

void signal_all(const std::vector<os::Process>& processes, int number) {
  for (const os::Process& process : processes)
    (void)process.signal(number);
}

}  // namespace drover::herd
