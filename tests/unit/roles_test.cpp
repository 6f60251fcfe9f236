#include "lib/herd/roles.h"

#include "lib/flock/guard.h"
#include "tests/unit/catch.h"

using namespace drover;
using herd::Role;

namespace {

flock::Opener process(pid_t pid, pid_t parent, const std::string& command) {
  flock::Opener opener;
  opener.pid = pid;
  opener.parent = parent;
  opener.command = command;
  return opener;
}

std::map<pid_t, Role> roles(const std::vector<flock::Opener>& openers) {
  std::vector<const flock::Opener*> pointers;
  for (const auto& opener : openers)
    pointers.push_back(&opener);
  return herd::roles_of(pointers);
}

}  // namespace

TEST_CASE("titles tell roles") {
  const auto found =
      roles({process(2, 1, "unicorn master (old) -D"), process(3, 2, "unicorn worker[0] -D"),
             process(4, 2, "unicorn master -D"), process(5, 4, "unicorn worker[0] -D"),
             process(6, 1, "nginx: master process nginx"), process(7, 6, "nginx: worker process"),
             process(8, 1, "puma: cluster worker 0: 5 [app]")});
  CHECK(found.at(2) == Role::old_master);
  CHECK(found.at(3) == Role::worker);
  CHECK(found.at(4) == Role::master);
  CHECK(found.at(5) == Role::worker);
  CHECK(found.at(6) == Role::master);
  CHECK(found.at(7) == Role::worker);
  CHECK(found.at(8) == Role::worker);
}

TEST_CASE("without titles the tree tells") {
  const char* gunicorn = "/usr/bin/python3 /usr/bin/gunicorn worker:app";
  const auto found =
      roles({process(2, 1, gunicorn), process(3, 2, gunicorn), process(4, 2, gunicorn),
             process(5, 4, gunicorn), process(9, 1, "sleep 5")});
  CHECK(found.at(2) == Role::old_master);
  CHECK(found.at(3) == Role::worker);
  CHECK(found.at(4) == Role::master);
  CHECK(found.at(5) == Role::worker);
  CHECK(found.at(9) == Role::unknown);
}

TEST_CASE("a master with a master below it is the old one") {
  const auto found =
      roles({process(2, 1, "nginx: master process"), process(3, 2, "nginx: master process"),
             process(4, 3, "nginx: worker process")});
  CHECK(found.at(2) == Role::old_master);
  CHECK(found.at(3) == Role::master);
}

TEST_CASE("a guard is no master") {
  auto guard = process(2, 1, "drover-hold --guard a.lock puma");
  guard.name = flock::kGuardName;
  const auto found = roles({guard, process(3, 2, "puma 5"), process(4, 3, "ruby")});
  CHECK(found.at(2) == Role::guard);
  CHECK(found.at(3) == Role::master);
  CHECK(found.at(4) == Role::worker);
  CHECK(roles({guard, process(3, 2, "sleep 2")}).at(3) == Role::unknown);
}
