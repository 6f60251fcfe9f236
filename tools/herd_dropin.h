// drover-herd in the place of unicornherder (https://github.com/alphagov/unicornherder): its
// options, its defaults, and under its name the program itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace drover {

/// The values of -u, -b and -g.
struct DropIn {
  std::optional<std::string> type;         ///< one of herder_types()
  std::optional<std::string> unicorn_bin;  ///< may hold arguments: "bundle exec unicorn"
  std::optional<std::string> gunicorn_bin;

  /// Whether one of them was given: then the words behind the options are the server's arguments.
  [[nodiscard]] bool wanted() const { return type || unicorn_bin || gunicorn_bin; }
};

/// Whether the program was called unicornherder.
bool is_unicornherder(const char* argv0);
const std::vector<std::string>& herder_types();

/// What is to be run, as a daemon with this pidfile; each argument stays one argument.
std::vector<std::string> herder_command(const DropIn& drop_in, const std::string& pidfile,
                                        const std::vector<std::string>& arguments);
/// TYPE.pid, or the program's name in its place.
std::string herder_pidfile(const DropIn& drop_in);

/// "-v" asks for the version there. In place, up to the first word that is no option.
void read_v_as_version(int argc, char** argv);

}  // namespace drover
