#include "tools/herd_dropin.h"

#include <algorithm>
#include <sstream>
#include <string_view>

namespace drover {
namespace {

constexpr const char* kDefaultType = "gunicorn";

std::vector<std::string> words_in(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;)
    words.push_back(word);
  return words;
}

}  // namespace

bool is_unicornherder(const char* argv0) {
  const std::string_view name = argv0 == nullptr ? "" : argv0;
  return name.substr(name.rfind('/') + 1) == "unicornherder";
}

const std::vector<std::string>& herder_types() {
  static const std::vector<std::string> types{"gunicorn", "gunicorn_django", "unicorn",
                                              "unicorn_rails"};
  return types;
}

std::string herder_pidfile(const DropIn& drop_in) {
  if (drop_in.unicorn_bin) return *drop_in.unicorn_bin + ".pid";
  if (drop_in.gunicorn_bin) return *drop_in.gunicorn_bin + ".pid";
  return drop_in.type.value_or(kDefaultType) + ".pid";
}

std::vector<std::string> herder_command(const DropIn& drop_in, const std::string& pidfile,
                                        const std::vector<std::string>& arguments) {
  const std::string type = drop_in.type.value_or(kDefaultType);
  const bool is_unicorn = drop_in.unicorn_bin || (!drop_in.gunicorn_bin && type == "unicorn");
  std::vector<std::string> command =
      words_in(drop_in.unicorn_bin ? *drop_in.unicorn_bin : drop_in.gunicorn_bin.value_or(type));
  command.emplace_back("-D");
  // unicorn_rails takes no pidfile: its configuration names it.
  const bool names_pidfile = drop_in.unicorn_bin || drop_in.gunicorn_bin || type != "unicorn_rails";
  if (names_pidfile) {
    command.emplace_back(is_unicorn ? "-P" : "-p");
    command.push_back(pidfile);
  }
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

void read_v_as_version(int argc, char** argv) {
  static char version[] = "--version";
  for (int at = 1; at < argc && argv[at][0] == '-' && std::string_view(argv[at]) != "--"; ++at)
    if (std::string_view(argv[at]) == "-v") argv[at] = version;
}

}  // namespace drover
