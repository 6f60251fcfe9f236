#include "tools/exec_modes.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "lib/cli/exit_codes.h"
#include "lib/cli/message.h"
#include "lib/environ/command.h"
#include "lib/environ/import.h"
#include "lib/environ/logical_path.h"
#include "lib/environ/trust.h"
#include "lib/flock/hold.h"
#include "lib/flock/lock_file.h"
#include "lib/os/fd.h"
#include "lib/os/process.h"
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

/// Whether the interpreter in the first line of a script is there.
void look_at_interpreter(const std::string& script) {
  const std::string interpreter = environ::interpreter_of_script(script);
  if (!interpreter.empty() && ::access(interpreter.c_str(), X_OK) != 0)
    throw Error(errno, "run interpreter", interpreter, fmt::format("of '{}'", script));
}

/// Whether the lock file could be taken, without making or locking it.
void look_at_lock(const std::string& lock) {
  const std::string folder = os::split_path(lock).first;
  if (const auto file = flock::LockFile::open(lock)) {
    flock::refuse_pidfile(lock);
    return;
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) throw Error(errno, "make a lock file in", folder);
}

/// What can be seen without running anything.
void look(const environ::Plan& plan) {
  (void)plan.environment.strings();
  if (!plan.wrapper.empty()) {
    if (::access(plan.wrapper.c_str(), X_OK) != 0)
      throw Error(errno, "execute", plan.wrapper, "a reload executes it again: chmod +x");
    look_at_interpreter(plan.wrapper);
  }
  if (!plan.folder.empty() && ::access((plan.folder + "/.").c_str(), X_OK) != 0)
    throw Error(errno, "change to folder", plan.folder);
  if (!plan.lock.empty()) look_at_lock(plan.lock);
  look_at_interpreter(plan.program);
  if (::access(plan.program.c_str(), R_OK) == 0 && !environ::has_format(plan.program))
    throw Error(ENOEXEC, "run", plan.program, "a script begins with #!");
  if (!plan.other_python.empty())
    throw Error::because(ENOPKG, "run", plan.program,
                         fmt::format("'{}' would run it, not the chosen python", plan.other_python),
                         "install it beside the chosen one too");
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
    throw os::ExecError::because(
        EACCES, plan.program,
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
  if (!plan.folder.empty() && ::chdir(plan.folder.c_str()) != 0)
    throw Error(errno, "change to folder", plan.folder);
  for (const auto& words : plan.checks) {
    const auto [status, errors] = os::try_out({words[0], words, plan.environment.strings()},
                                              std::chrono::steady_clock::now() + kCheckLimit);
    if (!status)
      throw Error::because(ETIMEDOUT, "run", words[0],
                           fmt::format("a trial run of it took longer than {} s, and was killed",
                                       kCheckLimit.count()));
    if (status->wait_status == 0) continue;
    throw Error::because(ENOPKG, "run", words[0],
                         fmt::format("a trial run of it {}", status->describe()),
                         errors.substr(0, errors.find('\n')));
  }
  say_steps(plan, {});
  return cli::kDone;
}

int import_script(const std::string& script, const environ::Caller& caller, bool insecure) {
  environ::Steps steps;
  environ::Block none;
  environ::Edit edit(none, steps);
  const std::string path = environ::logical_path(script, caller.folder);
  environ::Trust(edit, insecure).check_way(path);
  const environ::Import import = environ::import_script(
      path, caller.folder, {caller.home, caller.folder, caller.environment}, kImportLimit);
  fmt::print("{}", as_toml(import));
  for (const environ::Step& step : steps)
    cli::say(cli::Level::warning, fmt::format("'{}': {}", step.subject, step.text));
  const auto warn = [](const std::string& text) { cli::say(cli::Level::warning, text); };
  for (const auto& [name, value] : import.set)
    if (shown(name, value, {}) != value)
      warn(fmt::format("'{}' looks like a secret: better in an env_file outside of the repository",
                       name));
  for (const auto& [name, value] : import.set)
    if (!is_utf8(name) || !is_utf8(value))
      warn(fmt::format("'{}' is no UTF-8, which TOML cannot hold: it is changed here", name));
  if (import.umask_changed) warn("the umask that it sets is not in this: umask = \"...\"");
  if (import.folder_changed)
    warn(
        "its change of folder is not in this: a wrapper changes to the folder above its own; to "
        "another by cwd = \"...\"");
  return cli::kDone;
}

environ::Block environment_of(int pid) {
  const std::string path = fmt::format("/proc/{}/environ", pid);
  errno = 0;
  const std::string text = os::read_proc(path, 4 << 20);
  const bool gone = errno == ESRCH || errno == ENOENT || !os::Process::open(pid);
  if (text.empty() && gone && os::Process::open(pid))
    throw Error::because(ENOENT, "read the environment of process", std::to_string(pid),
                         "it has none: it has ended, or is the kernel's own");
  if (text.empty() && (errno != 0 || gone))
    throw Error(gone ? ENOENT : errno, "read the environment of process", std::to_string(pid));
  const auto first = text.substr(0, text.find('\0'));
  if (!text.empty() && first.find('=') == std::string::npos)
    throw Error::because(ENODATA, "read the environment of process", std::to_string(pid),
                         "its title has overwritten it");
  return environ::Block::from_proc(text);
}

std::string change_of_folder(int pid, const environ::Plan& plan) {
  std::error_code unreadable;
  const std::filesystem::path now =
      std::filesystem::read_symlink(fmt::format("/proc/{}/cwd", pid), unreadable);
  const std::filesystem::path next = std::filesystem::canonical(plan.folder, unreadable);
  if (now.empty() || next.empty() || now == "/") return {};
  const auto [end, rest] = std::mismatch(next.begin(), next.end(), now.begin(), now.end());
  if (end == next.end()) return {};
  return fmt::format("~ folder: {} -> {}\n", cli::printable(now.string()),
                     cli::printable(next.string()));
}

uid_t owner_of(int pid) {
  struct stat st {};
  return ::stat(fmt::format("/proc/{}", pid).c_str(), &st) == 0 ? st.st_uid : ::geteuid();
}

}  // namespace drover::exec
