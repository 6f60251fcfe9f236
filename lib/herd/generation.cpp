#include "lib/herd/generation.h"

#include <algorithm>

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

}  // namespace

std::vector<pid_t> workers_of(pid_t master, const std::vector<pid_t>& masters) {
  Children children = living_children_of(master);
  if (!children.forked.empty()) return std::move(children.forked);
  std::erase_if(children.executed, [&](pid_t child) {
    return std::find(masters.begin(), masters.end(), child) != masters.end();
  });
  return std::move(children.executed);
}

std::vector<pid_t> executed_children_of(pid_t master) {
  return living_children_of(master).executed;
}

std::vector<os::Process> tree_of(pid_t pid) {
  std::vector<os::Process> tree;
  std::vector<pid_t> next{pid};
  for (size_t at = 0; at < next.size(); ++at) {
    auto process = os::Process::open(next[at]);
    if (!process) continue;
    const auto children = os::children_of(next[at]);
    if (!process->alive() && children.empty()) continue;
    next.insert(next.end(), children.begin(), children.end());
    tree.push_back(std::move(*process));
  }
  return tree;
}

}  // namespace drover::herd
