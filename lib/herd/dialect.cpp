#include "lib/herd/dialect.h"

#include <algorithm>

namespace drover::herd {
namespace {

std::vector<Dialect> make_dialects() {
  return {
      {.name = "unicorn",
       .programs = {"unicorn", "unicorn_rails", "prefork"},
       .successor = Successor::takes_pidfile,
       .upgrade = SIGUSR2,
       .graceful = SIGQUIT,
       .quick = SIGTERM,
       .restore = SIGHUP,
       .fewer_workers = SIGTTOU,
       .more_workers = SIGTTIN,
       .one_before = true,
       .keeps_sockets = true},
      // QUIT would drop the requests in flight, and WINCH works for daemons only.
      {.name = "gunicorn",
       .programs = {"gunicorn", "gunicorn3", "gunicorn_django", "gunicorn_paster"},
       .successor = Successor::waits_for_parent,
       .upgrade = SIGUSR2,
       .graceful = SIGTERM,
       .quick = SIGQUIT,
       .fewer_workers = SIGTTOU,
       .more_workers = SIGTTIN,
       .one_before = true,
       .ready_too_early = true,
       .keeps_sockets = true},
      {.name = "nginx",
       .programs = {"nginx", "openresty"},
       .successor = Successor::takes_pidfile,
       .upgrade = SIGUSR2,
       .graceful = SIGQUIT,
       .quick = SIGTERM,
       .quiesce = SIGWINCH,
       .restore = SIGHUP,
       .one_before = true,
       .keeps_sockets = true,
       .daemon_by_path = true},
      {.name = "puma",
       .programs = {"puma"},
       .successor = Successor::in_place,
       .upgrade = SIGUSR2,
       .graceful = SIGTERM,
       .quick = SIGTERM},
      {.name = "haproxy",
       .programs = {"haproxy"},
       .successor = Successor::in_place,
       .upgrade = SIGUSR2,
       .graceful = SIGUSR1,
       .quick = SIGTERM},
      {.name = "php-fpm",
       .programs = {"php-fpm*"},
       .successor = Successor::in_place,
       .upgrade = SIGUSR2,
       .graceful = SIGQUIT,
       .quick = SIGTERM},
      // TERM would reload it, unless it was told to die of it.
      {.name = "uwsgi",
       .programs = {"uwsgi", "uwsgi-core"},
       .successor = Successor::in_place,
       .upgrade = SIGHUP,
       .graceful = SIGINT,
       .quick = SIGINT,
       .for_term = SIGINT},
      {.name = "plain", .programs = {}},
  };
}

/// "/usr/bin/unicorn" gives "unicorn", "nginx:" gives "nginx".
std::string_view program_in(std::string_view word) {
  if (const auto slash = word.rfind('/'); slash != std::string_view::npos)
    word.remove_prefix(slash + 1);
  if (word.ends_with(':')) word.remove_suffix(1);
  return word;
}

bool is_called(const Dialect& dialect, std::string_view program) {
  return std::any_of(dialect.programs.begin(), dialect.programs.end(), [&](std::string_view name) {
    return name.ends_with('*') ? program.starts_with(name.substr(0, name.size() - 1))
                               : program == name;
  });
}

}  // namespace

const std::vector<Dialect>& dialects() {
  static const std::vector<Dialect> all = make_dialects();
  return all;
}

const Dialect* find_dialect(std::string_view name) {
  const auto& all = dialects();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const Dialect& dialect) { return dialect.name == name; });
  return found == all.end() ? nullptr : &*found;
}

const Dialect* recognize(const std::vector<std::string>& command) {
  for (size_t at = 0; at < command.size(); ++at) {
    const std::string_view before = at == 0 ? std::string_view() : command[at - 1];
    const bool is_value = before.starts_with('-') && before != "-m" && before != "--";
    for (const Dialect& dialect : dialects())
      if (!is_value && is_called(dialect, program_in(command[at]))) return &dialect;
  }
  return nullptr;
}

}  // namespace drover::herd
