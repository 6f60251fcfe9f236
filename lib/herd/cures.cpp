#include "lib/herd/cures.h"

#include <fmt/core.h>

#include <algorithm>

namespace drover::herd {
namespace {

constexpr const char* kGuard =
    "drover-hold --guard: it stays as the parent and keeps the lock itself";
constexpr const char* kHigh = "drover-hold --fd high (its default)";

std::string hook_of(const Patient& patient) {
  if (patient.dialect.name == "unicorn")
    return "require \"/usr/share/drover/drover\"; before_fork { |server, _worker| "
           "Drover.hold(\"#{server.config[:pid]}.lock\") }";
  if (patient.dialect.name == "puma")
    return fmt::format(
        "require \"/usr/share/drover/drover\"; Drover.hold(\"{}.lock\")   # and: drover-wait "
        "--grace 10s",
        patient.pidfile);
  return "";
}

bool has_word(const Patient& patient, std::string_view name) {
  return std::any_of(patient.command.begin(), patient.command.end(), [&](std::string_view word) {
    const auto slash = word.rfind('/');
    return (slash == std::string_view::npos ? word : word.substr(slash + 1)) == name;
  });
}

std::string wrapper_of(const Patient& patient) {
  const bool python = patient.dialect.name == "gunicorn";
  return fmt::format(
      "start it by a bin/{0} of drover-exec(1): #!/usr/bin/drover-exec, {1} = \"auto\", command = "
      "[\"{0}\"]",
      patient.dialect.name == "plain" ? "server" : patient.dialect.name,
      python ? "python" : "ruby");
}

}  // namespace

std::vector<std::string> cures_of_lost_lock(const Patient& patient, LostIn lost, int number,
                                            bool high_survives) {
  const std::string_view name = patient.dialect.name;
  std::vector<std::string> cures;
  if (high_survives) cures.emplace_back(kHigh);
  if (lost == LostIn::start && has_word(patient, "bundle"))
    cures.emplace_back("bundle exec --keep-file-descriptors");
  if (name == "unicorn" && lost == LostIn::reload)
    cures.push_back(fmt::format(
        "before_exec {{ |_server| IO.for_fd({}, autoclose: false).close_on_exec = false }}",
        number));
  if (name == "uwsgi" && lost == LostIn::reload)
    cures.push_back(fmt::format("drover-hold --fd {0} uwsgi --safe-fd {0}", number));
  if (!high_survives) {
    cures.emplace_back(kGuard);
    if (auto hook = hook_of(patient); !hook.empty()) cures.push_back(std::move(hook));
  }
  return cures;
}

std::vector<std::string> cures_of_own_lock(const Patient& patient) {
  if (auto hook = hook_of(patient); !hook.empty()) return {std::move(hook), kHigh};
  return {kHigh, kGuard};
}

std::vector<std::string> cures_of_pidfile(const Patient& patient) {
  struct Line {
    std::string_view dialect, text;
  };
  constexpr Line kLines[] = {{"unicorn", "pid \"{}\"   # in its configuration"},
                             {"gunicorn", "gunicorn --pid {}"},
                             {"nginx", "pid {};   # in nginx.conf"},
                             {"puma", "pidfile \"{}\"   # in puma.rb"},
                             {"haproxy", "haproxy -W -p {}"},
                             {"php-fpm", "pid = {}   ; in [global]"},
                             {"uwsgi", "uwsgi --pidfile {}"}};
  for (const auto& [dialect, text] : kLines)
    if (dialect == patient.dialect.name) return {fmt::format(fmt::runtime(text), patient.pidfile)};
  return {fmt::format("have the server write '{}', or name the file that it does write",
                      patient.pidfile)};
}

std::vector<std::string> cures_of_start(const Patient& patient,
                                        const std::vector<std::string>& output) {
  // worker_exec: each worker reads the configuration anew, and takes itself for a master.
  const bool is_known = std::any_of(output.begin(), output.end(), [](const std::string& line) {
    return line.find("Already running on PID") != std::string::npos;
  });
  if (patient.dialect.name != "unicorn" || !is_known) return {};
  return {fmt::format("pid \"{}\" unless ENV[\"UNICORN_WORKER\"]", patient.pidfile)};
}

std::vector<std::string> cures_of_folder(const Patient& patient, const std::string& link) {
  std::vector<std::string> cures;
  const std::string_view name = patient.dialect.name;
  if (name == "unicorn") cures.push_back(fmt::format("working_directory \"{}\"", link));
  if (name == "gunicorn") cures.push_back(fmt::format("chdir = \"{}\"", link));
  if (name == "puma") cures.push_back(fmt::format("directory \"{}\"", link));
  if (name == "uwsgi") cures.push_back(fmt::format("uwsgi --chdir {}", link));
  cures.push_back(fmt::format("cd {0} && exec env PWD={0} ...", link));
  cures.push_back(wrapper_of(patient));
  return cures;
}

std::vector<std::string> cures_of_gemfile(const Patient& patient, const std::string& link) {
  std::vector<std::string> cures;
  const char* form = nullptr;
  if (patient.dialect.name == "unicorn") form = "before_exec {{ |_server| {} }}";
  if (patient.dialect.name == "puma") form = "on_restart {{ {} }}";
  if (form != nullptr)
    cures.push_back(fmt::format(fmt::runtime(form),
                                fmt::format("ENV[\"BUNDLE_GEMFILE\"] = \"{}/Gemfile\"", link)));
  cures.push_back(wrapper_of(patient));
  return cures;
}

std::vector<std::string> cures_of_environment(const Patient& patient) {
  return {wrapper_of(patient)};
}

}  // namespace drover::herd
