#include "tools/exec_modes.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "lib/cli/exit_codes.h"
#include "lib/cli/message.h"
#include "lib/environ/capture.h"
#include "lib/environ/command.h"
#include "lib/environ/logical_path.h"
#include "lib/environ/reset.h"
#include "lib/flock/hold.h"
#include "lib/os/fd.h"
#include "lib/os/procfs.h"
#include "lib/os/spawn.h"

namespace drover::exec {
namespace {

constexpr auto kImportLimit = std::chrono::seconds(60);
constexpr auto kCheckLimit = std::chrono::seconds(60);

/// Takes the lock for the command as drover-hold does.
void hold(environ::Plan& plan) {
  flock::HoldRequest request;
  request.path = plan.lock;
  const std::string* sockets = plan.environment.find("LISTEN_FDS");
  request.first_free =
      flock::first_free_descriptor(sockets == nullptr ? nullptr : sockets->c_str());
  flock::Hold held = flock::hold(request);
  for (const auto& warning : held.warnings)
    cli::say(cli::Level::warning, warning);
  plan.environment.set("DROVER_LOCK", held.path);
  plan.environment.set("DROVER_LOCK_FD", std::to_string(held.fd.get()));
  (void)held.fd.release();  // the command's
}

/// What can be seen without running anything.
void look(const environ::Plan& plan) {
  (void)plan.environment.strings();
  if (!plan.folder.empty() && ::access(plan.folder.c_str(), X_OK) != 0)
    throw Error(errno, "change to folder", plan.folder);
  const std::string folder = os::split_path(plan.lock).first;
  if (!plan.lock.empty() && ::access(folder.c_str(), X_OK) != 0)
    throw Error(errno, "make a lock file in", folder);
  const std::string line = environ::interpreter_line(plan.program);
  const std::string interpreter = line.substr(0, line.find_first_of(" \t"));
  if (!line.empty() && ::access(interpreter.c_str(), X_OK) != 0)
    throw Error(errno, "run interpreter", interpreter, fmt::format("of '{}'", plan.program));
}

}  // namespace

void become(environ::Plan& plan) {
  if (!plan.folder.empty() && ::chdir(plan.folder.c_str()) != 0)
    throw Error(errno, "change to folder", plan.folder);
  if (plan.umask) ::umask(*plan.umask);
  if (!plan.lock.empty()) hold(plan);
  try {
    os::execute({plan.program, plan.arguments, plan.environment.strings()});
  } catch (const os::ExecError& error) {
    const std::string line = environ::interpreter_line(plan.program);
    if (error.err() != ENOENT || line.empty()) throw;
    throw os::ExecError(EACCES, plan.program,
                        fmt::format("its first line asks for '{}', which is not there", line));
  }
}

void say_steps(const environ::Plan& plan, const Style& style) {
  for (const environ::Step& step : plan.steps) {
    if (step.kind == environ::Step::Kind::warning) {
      cli::say(cli::Level::warning, fmt::format("'{}': {}", step.subject, step.text));
    } else {
      cli::say(cli::Level::detail, line_of(step, style));
    }
  }
}

int check(const environ::Plan& plan) {
  look(plan);
  for (const auto& words : plan.checks) {
    const auto status = os::run({words[0], words, plan.environment.strings()},
                                std::chrono::steady_clock::now() + kCheckLimit);
    if (!status)
      throw Error::because(ETIMEDOUT, "run", words[0],
                           fmt::format("a trial run of it took longer than {} s, and was killed",
                                       kCheckLimit.count()));
    if (status->wait_status == 0) continue;
    throw Error::because(ENOPKG, "run", words[0],
                         fmt::format("a trial run of it {}", status->describe()));
  }
  say_steps(plan, {});
  return cli::kDone;
}

int import_script(const std::string& script, environ::Caller caller) {
  environ::Steps steps;
  environ::Edit edit(caller.environment, steps);
  environ::reset(edit, {caller.home, caller.folder, caller.environment});
  const environ::Captured captured =
      environ::capture(environ::logical_path(script, caller.folder), caller.folder,
                       caller.environment, kImportLimit);
  fmt::print("{}", as_toml(captured));
  if (captured.umask_changed)
    cli::say(cli::Level::warning, "the umask that it sets is not in this");
  if (captured.folder_changed) cli::say(cli::Level::warning, "its change of folder is not in this");
  return cli::kDone;
}

environ::Block environment_of(int pid) {
  const std::string path = fmt::format("/proc/{}/environ", pid);
  errno = 0;
  const std::string text = os::read_proc(path, 4 << 20);
  if (text.empty())
    throw Error(errno == 0 ? ENOENT : errno, "read the environment of process",
                std::to_string(pid));
  return environ::Block::from_proc(text);
}

}  // namespace drover::exec
