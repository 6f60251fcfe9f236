#include "lib/environ/capture.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>

#include "lib/environ/protocol.h"
#include "lib/os/error.h"
#include "lib/os/process.h"
#include "lib/os/signals.h"

namespace drover::environ {
namespace {

constexpr int kOutput = 9;  // where the shell writes what is for us
constexpr size_t kMost = 8 << 20;
constexpr const char* kShell = "/bin/bash";

/// Nobody can end our records by accident, or by an old copy of them.
std::string make_nonce() {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    throw Error(errno, "get random bytes");
  std::string text;
  for (const unsigned char byte : bytes)
    text += fmt::format("{:02x}", byte);
  return text;
}

/// Both looks are taken by the same shell, so that what a bash itself sets does not count. No
/// variable's name is empty: "=" begins a record of ours.
std::string shell_code(const std::string& nonce, Until until) {
  const std::string look = fmt::format(
      "drover_{0}() {{ /usr/bin/env -0 >&9 && /usr/bin/printf '={0}:%s:%s:%s\\0' \"$1\" "
      "\"$(umask)\" \"$PWD\" >&9; }}\n"
      "drover_{0} before || exit 96\n"
      "drover_script=$1\nshift\n",
      nonce);
  // In a subshell, or with redirections alone, an "exec" ends nothing.
  const std::string stop = fmt::format(
      "exec() {{ while :; do case \"$1\" in -a) shift 2 ;; -[cl] | -cl | -lc) shift ;; --) shift; "
      "break ;; *) break ;; esac; done\n"
      "[ $# != 0 ] || return 0; [ \"$BASHPID\" = $$ ] || builtin exec \"$@\"\n"
      "drover_{0} after && /usr/bin/printf '%s\\0' \"$@\" >&9 || exit 96; exit 0; }}\n",
      nonce);
  const std::string end = fmt::format(
      // Not "|| exit": a "set -e" in the script would mean nothing.
      ". \"$drover_script\"\n"
      "if [ $? != 0 ]; then exit 97; fi\n"
      "drover_{0} after || exit 96\nexit 0",
      nonce);
  return look + (until == Until::exec ? stop : "") + end;
}

[[noreturn]] void become_shell(int pipe, pid_t parent, const char* folder,
                               const std::vector<char*>& arguments,
                               const std::vector<char*>& environment) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent || ::chdir(folder) != 0) ::_exit(98);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0 || ::dup2(null, 0) < 0 || ::dup2(2, 1) < 0 || ::fcntl(2, F_SETFD, 0) < 0 ||
      (pipe == kOutput ? ::fcntl(pipe, F_SETFD, 0) : ::dup2(pipe, kOutput)) < 0)
    ::_exit(98);
  if (::syscall(SYS_close_range, 3, kOutput - 1, 0) != 0 ||
      ::syscall(SYS_close_range, kOutput + 1, ~0U, 0) != 0)
    ::_exit(98);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(kShell, arguments.data(), environment.data());
  ::_exit(99);
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (auto& word : words)
    pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Those that would end this process and leave the script to run on: but for what is ignored or
/// blocked.
sigset_t deadly_signals() {
  sigset_t set = os::signal_set({});
  sigset_t blocked = set;
  ::sigprocmask(SIG_SETMASK, nullptr, &blocked);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
    struct sigaction action {};
    if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_IGN &&
        sigismember(&blocked, number) == 0)
      sigaddset(&set, number);
  }
  return set;
}

/// A child that sources the script, and the pipe from it.
class Shell {
 public:
  Shell(const std::string& script, const std::string& folder, const std::string& nonce,
        const Block& environment, Until until)
      : script_(script) {
    std::vector<std::string> words = {
        kShell, "--noprofile", "--norc", "-p", "-c", shell_code(nonce, until), "capture", script};
    std::vector<std::string> variables = environment.strings();
    const auto arguments = pointers_to(words);
    const auto block = pointers_to(variables);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, "source", script);
    reader_ = os::Fd(ends[0]);
    const os::Fd writer(ends[1]);
    ::fcntl(reader_.get(), F_SETFL, O_NONBLOCK);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) throw Error(errno, "source", script);
    if (pid_ == 0) become_shell(writer.get(), parent, folder.c_str(), arguments, block);
    ::setpgid(pid_, pid_);  // here too: who comes first does it
    process_ = os::Process::open(pid_);
    if (process_) return;
    const int err = errno;
    end();
    throw Error(err, "watch the shell of", script);
  }
  ~Shell() { end(); }
  Shell(const Shell&) = delete;
  Shell& operator=(const Shell&) = delete;

  /// Everything that it has written when it ends: not until the pipe ends, which a process in the
  /// background may hold open for ever.
  std::string output(os::Deadline deadline) {
    for (bool open = true;;) {
      std::array<pollfd, 3> entries = {pollfd{process_->fd(), POLLIN, 0},
                                       pollfd{open ? reader_.get() : -1, POLLIN, 0},
                                       pollfd{stopped_.get(), POLLIN, 0}};
      const int count = ::poll(entries.data(), entries.size(), os::poll_timeout(deadline));
      if (count < 0 && errno != EINTR) throw Error(errno, "source", script_);
      if (count == 0)
        throw Error::because(ETIMEDOUT, "source", script_, "it took too long, and was killed");
      drain();
      if (entries[2].revents != 0)  // it comes once the mask is back, and the group is killed
        throw Error(EINTR, "source", script_);
      if (entries[0].revents != 0) break;
      if ((entries[1].revents & POLLHUP) != 0) open = false;  // it has closed it, and goes on
    }
    const int status = reap();
    drain();
    if (status != 0) throw Error::because(EBADMSG, "source", script_, describe({status}));
    return std::move(text_);
  }

 private:
  static std::string describe(os::ExitStatus status) {
    if (status.shell_code() == 97) return "its last command failed";
    if (status.shell_code() == 98 || status.shell_code() == 99)
      return fmt::format("'{}' ended with {}, as where it cannot be started", kShell,
                         status.shell_code());
    return "the shell " + status.describe();
  }

  void drain() {
    std::array<char, 16384> chunk;
    for (;;) {
      const ssize_t size = ::read(reader_.get(), chunk.data(), chunk.size());
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0) return;
      text_.append(chunk.data(), static_cast<size_t>(size));
      if (text_.size() > kMost)
        throw Error::because(EBADMSG, "source", script_, "its environment is longer than 8 MiB");
    }
  }

  void end() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    reap();
  }

  int reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

  std::string script_;
  const sigset_t deadly_ = deadly_signals();
  os::BlockedSignals signals_{deadly_};
  os::Fd stopped_ = os::open_signalfd(deadly_);
  os::ReapableChildren reapable_;
  os::Fd reader_;
  pid_t pid_ = 0;
  std::optional<os::Process> process_;
  std::string text_;
};

struct Look {
  Block environment;
  std::string state;  ///< umask and folder
};

/// Takes the entries up to the record of one look out of the output. Empty when it is not there.
std::optional<Look> take_look(std::string_view& text, const std::string& mark) {
  Look look;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\0', at);
    if (end == std::string_view::npos) return std::nullopt;
    const auto entry = text.substr(at, end - at);
    if (entry.starts_with(mark)) {
      look.environment = Block::from_proc(text.substr(0, at));
      look.state = entry.substr(mark.size());
      text.remove_prefix(end + 1);
      return look;
    }
    at = end + 1;
  }
  return std::nullopt;
}

bool is_the_shells(std::string_view name) {
  constexpr std::array kNames = {"_",      "SHLVL",     "PWD",           "drover_script",
                                 "OLDPWD", "SHELLOPTS", "PROMPT_COMMAND"};
  return name == "BASH" || name == "BASHOPTS" || name == "BASHPID" || name.starts_with("BASH_") ||
         (name.starts_with("PS") && name.size() == 3 && name[2] >= '0' && name[2] <= '9') ||
         std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

}  // namespace

Captured capture(const std::string& script, const std::string& folder, const Block& environment,
                 std::chrono::milliseconds limit, Until until) {
  struct stat st {};
  if (::stat(script.c_str(), &st) != 0) throw Error(errno, "source", script);
  if (!S_ISREG(st.st_mode)) throw Error::because(EINVAL, "source", script, "it is no regular file");
  if (::access((folder + "/.").c_str(), X_OK) != 0) throw Error(errno, "source in folder", folder);
  Block given;
  for (const auto& [name, value] : environment.variables())
    if (!is_protocol(name) && !is_the_shells(name) && name != "POSIXLY_CORRECT")
      given.set(name, value);
  given.set("PWD", folder);  // by its links, where it is the same
  const std::string nonce = make_nonce();
  const std::string text =
      Shell(script, folder, nonce, given, until).output(std::chrono::steady_clock::now() + limit);

  std::string_view rest = text;
  const auto before = take_look(rest, "=" + nonce + ":before:");
  const auto after = take_look(rest, "=" + nonce + ":after:");
  if (!before || !after)
    throw Error::because(EBADMSG, "source", script, "it ended the shell before its own end");

  Captured captured;
  for (auto end = rest.find('\0'); end != std::string_view::npos; end = rest.find('\0')) {
    captured.command.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  for (const auto& [name, value] : after->environment.variables()) {
    const std::string* old = before->environment.find(name);
    if (!is_the_shells(name) && (old == nullptr || *old != value))
      captured.set.push_back({name, value});
  }
  for (const auto& [name, value] : before->environment.variables())
    if (!is_the_shells(name) && !after->environment.has(name)) captured.unset.push_back(name);
  const auto mask = [](const std::string& state) { return state.substr(0, state.find(':')); };
  captured.umask_changed = mask(before->state) != mask(after->state);
  const auto place = [](const std::string& state) { return state.substr(state.find(':') + 1); };
  captured.folder_changed = place(before->state) != place(after->state);
  return captured;
}

}  // namespace drover::environ
