#include "lib/herd/status.h"

#include <fmt/core.h>
#include <unistd.h>

#include "lib/flock/inspect.h"
#include "lib/herd/roles.h"
#include "lib/os/procfs.h"

namespace drover::herd {

using control::Json;

std::string describe(Service& service) {
  const Master current = service.current();
  return fmt::format("Serving: {}, master {}", service.dialect().name,
                     current ? current->pid() : 0);
}

Json generations_of(Service& service) {
  Json list = Json::array();
  const Master current = service.current();
  const char* role = "old";  // those before the current one
  for (const Master& master : service.generations()) {
    const bool is_current = current && master->pid() == current->pid();
    list.push_back({{"master", master->pid()},
                    {"role", is_current ? "current" : role},
                    {"workers", service.workers_of(master->pid())}});
    if (is_current) role = "successor";
  }
  return list;
}

Json holder_pids(const Service& service) {
  Json list = Json::array();
  for (const os::Process& holder : service.holders())
    list.push_back(holder.pid());
  return list;
}

Json holders_of(const Service& service) {
  Json list = Json::array();
  const auto reports = flock::inspect({service.lock()});
  for (const flock::Description& description : reports.at(0).descriptions) {
    std::vector<const flock::Opener*> openers;
    for (const flock::Opener& holder : description.holders)
      if (holder.pid != ::getpid()) openers.push_back(&holder);
    const auto roles = roles_of(openers);
    for (const flock::Opener* holder : openers) {
      Json fds = Json::array();
      for (const flock::HeldFd& held : holder->fds)
        fds.push_back(held.fd);
      list.push_back({{"pid", holder->pid},
                      {"role", to_string(roles.at(holder->pid))},
                      {"command", holder->command},
                      {"fds", std::move(fds)}});
    }
  }
  return list;
}

}  // namespace drover::herd
