#include "lib/herd/dialect.h"

#include <set>
#include <sstream>

#include "tests/unit/catch.h"

using namespace drover;

namespace {

/// The dialect of a command of simple words; "none" where there is none.
std::string dialect_of(const std::string& command) {
  std::istringstream stream(command);
  std::vector<std::string> words;
  for (std::string word; stream >> word;)
    words.push_back(word);
  const herd::Dialect* found = herd::recognize(words);
  return found == nullptr ? "none" : std::string(found->name);
}

}  // namespace

TEST_CASE("a server is recognized by its command") {
  CHECK(dialect_of("unicorn") == "unicorn");
  CHECK(dialect_of("unicorn_rails -E production") == "unicorn");
  CHECK(dialect_of("/usr/sbin/nginx -c x") == "nginx");
  CHECK(dialect_of("gunicorn3 -w 4 app:app") == "gunicorn");
  CHECK(dialect_of("php-fpm8.2 --nodaemonize") == "php-fpm");
  CHECK(dialect_of("php-fpm") == "php-fpm");
  CHECK(dialect_of("uwsgi_python3 --master") == "uwsgi");
  CHECK(dialect_of("uwsgi-core --ini app.ini") == "uwsgi");
  CHECK(dialect_of("haproxy -W -f haproxy.cfg") == "haproxy");
  CHECK(dialect_of("prefork --listen 127.0.0.1:8080") == "unicorn");
  CHECK(dialect_of("") == "none");
  CHECK(dialect_of("myserver --port 80") == "none");
  CHECK(dialect_of("unicorn-helper") == "none");
}

TEST_CASE("a server is recognized behind what starts it") {
  CHECK(dialect_of("bundle exec unicorn -c unicorn.rb") == "unicorn");
  CHECK(dialect_of("bundle exec --keep-file-descriptors unicorn") == "unicorn");
  CHECK(dialect_of("bundle exec --keep-file-descriptors --verbose puma") == "puma");
  CHECK(dialect_of("python3 -m gunicorn app") == "gunicorn");
  CHECK(dialect_of("python3 -B /usr/bin/gunicorn app") == "gunicorn");
  CHECK(dialect_of("ruby -rbundler/setup /srv/app/bin/puma") == "puma");
  CHECK(dialect_of("ruby -rbundler/setup exe/puma") == "puma");
  CHECK(dialect_of("env A=b unicorn") == "unicorn");
  CHECK(dialect_of("env -u A unicorn") == "unicorn");
  CHECK(dialect_of("drover-hold app.pid.lock -- nginx") == "nginx");
  CHECK(dialect_of("nice -n 5 puma") == "puma");
  CHECK(dialect_of("sudo -u www-data /usr/sbin/nginx") == "nginx");
}

TEST_CASE("the name of a user, a file or a folder is no server") {
  CHECK(dialect_of("sudo -u nginx myserver") == "none");
  CHECK(dialect_of("sudo --user nginx myserver") == "none");
  CHECK(dialect_of("gosu nginx myserver") == "none");
  CHECK(dialect_of("s6-setuidgid uwsgi myserver") == "none");
  CHECK(dialect_of("/sbin/setuidgid uwsgi unicorn") == "unicorn");
  CHECK(dialect_of("myserver -c /etc/nginx") == "none");
  CHECK(dialect_of("myserver --folder /srv/unicorn") == "none");
}

TEST_CASE("a running master is recognized by its title") {
  CHECK(dialect_of("unicorn master -D -c /srv/app/unicorn.rb") == "unicorn");
  CHECK(dialect_of("unicorn master (old) -c unicorn.rb") == "unicorn");
  CHECK(dialect_of("/usr/bin/ruby /usr/bin/unicorn -c unicorn.rb") == "unicorn");
  CHECK(dialect_of("gunicorn: master [app:app]") == "gunicorn");
  CHECK(dialect_of("nginx: master process /usr/sbin/nginx -c /etc/nginx/nginx.conf") == "nginx");
  CHECK(dialect_of("puma 5.6.5 (tcp://127.0.0.1:8080) [app]") == "puma");
  CHECK(dialect_of("php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)") == "php-fpm");
  CHECK(dialect_of("prefork master (old)") == "unicorn");
}

TEST_CASE("each dialect has a name of its own, and plain comes last") {
  std::set<std::string_view> names;
  for (const herd::Dialect& dialect : herd::dialects()) {
    CHECK(names.insert(dialect.name).second);
    CHECK(herd::find_dialect(dialect.name) == &dialect);
  }
  CHECK(herd::dialects().back().name == "plain");
  CHECK(herd::dialects().back().programs.empty());
  CHECK(herd::find_dialect("auto") == nullptr);
}
