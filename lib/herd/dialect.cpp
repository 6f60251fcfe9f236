#include "lib/herd/dialect.h"

#include <algorithm>
#include <array>

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
       .quick = SIGTERM,
       .drops_descriptors = true},
      {.name = "haproxy",
       .programs = {"haproxy"},
       .successor = Successor::in_place,
       .upgrade = SIGUSR2,
       .graceful = SIGUSR1,
       .quick = SIGTERM,
       .ready_too_early = true,
       .processes = "HAPROXY_PROCESSES"},
      {.name = "php-fpm",
       .programs = {"php-fpm*"},
       .successor = Successor::in_place,
       .upgrade = SIGUSR2,
       .graceful = SIGQUIT,
       .quick = SIGTERM},
      // TERM would reload it, unless it was told to die of it. --safe-fd would spare the lock, but
      // nobody can tell from outside.
      {.name = "uwsgi",
       .programs = {"uwsgi*"},
       .successor = Successor::in_place,
       .upgrade = SIGHUP,
       .graceful = SIGINT,
       .quick = SIGINT,
       .drops_descriptors = true,
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

/// "/usr/bin/unicorn": whatever stands before it, that is no user, file or folder.
bool is_in_bin(std::string_view word) {
  const auto slash = word.rfind('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view folder = word.substr(0, slash);
  return folder.ends_with("bin") && program_in(folder).size() <= 4;  // bin, sbin
}

/// Whether the word at `at` belongs to the one before it: "-u nginx", "gosu nginx".
bool is_value(const std::vector<std::string>& command, size_t at) {
  if (at == 0 || is_in_bin(command[at])) return false;
  const std::string_view before = command[at - 1];
  if (!before.starts_with('-')) {
    constexpr std::array<std::string_view, 5> kTakeUsers = {"gosu", "su-exec", "setuidgid",
                                                            "s6-setuidgid", "su"};
    const auto taker = program_in(before);
    return std::find(kTakeUsers.begin(), kTakeUsers.end(), taker) != kTakeUsers.end();
  }
  if (before == "-m" || before == "--") return false;
  if (!before.starts_with("--")) return before.size() <= 2;  // "-rbundler/setup" has its value
  if (before.find('=') != std::string_view::npos) return false;
  // The long options of "bundle exec" are flags.
  size_t first = at - 1;
  while (first > 0 && command[first - 1].starts_with("--"))
    --first;
  return first < 2 || command[first - 1] != "exec" || program_in(command[first - 2]) != "bundle";
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
  for (size_t at = 0; at < command.size(); ++at)
    for (const Dialect& dialect : dialects())
      if (is_called(dialect, program_in(command[at])) && !is_value(command, at)) return &dialect;
  return nullptr;
}

}  // namespace drover::herd
