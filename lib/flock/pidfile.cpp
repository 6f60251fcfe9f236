#include "lib/flock/pidfile.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "lib/os/error.h"
#include "lib/os/fd.h"
#include "lib/os/process.h"
#include "lib/os/procfs.h"

namespace drover::flock {
namespace {

constexpr pid_t kLargestPid = 1 << 22;
constexpr std::string_view kBlank = " \t\r\n";
constexpr long long kClockError = 2;  // the start of a process is known to the second

/// When the process was started, in seconds of CLOCK_REALTIME.
long long start_time(const os::ProcessStat& stat) {
  return os::boot_time() + static_cast<long long>(stat.start) / ::sysconf(_SC_CLK_TCK);
}

/// Whether the process was started after that moment. What is not known of it says nothing.
bool started_after(pid_t pid, time_t written) {
  std::optional<os::ProcessStat> stat;
  if (os::proc_is_ours()) stat = os::read_stat(pid);
  return stat && start_time(*stat) > written + kClockError;
}

/// Whether this process cannot be the one that wrote its number at `written`.
bool is_stale(pid_t pid, time_t written) {
  const auto process = os::Process::open(pid);
  // Any other refusal (an old seccomp filter, no descriptor left) says nothing about the process.
  if (!process && errno == ESRCH) return true;
  const bool too_young = started_after(pid, written);
  return too_young || (process && !process->alive());
}

}  // namespace

std::optional<pid_t> parse_pid(std::string_view text) {
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return std::nullopt;
  text = text.substr(first, text.find_last_not_of(kBlank) - first + 1);
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc{} || end != text.data() + text.size() || pid < 1 || pid > kLargestPid)
    return std::nullopt;
  return pid;
}

Pidfile read_pidfile(const std::string& path) {
  const os::Fd file = os::try_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat st {};
  if (!file || ::fstat(file.get(), &st) != 0) return {{}, std::generic_category().message(errno)};
  if (!S_ISREG(st.st_mode)) return {{}, "it is not a regular file"};
  std::array<char, 65> text;
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return {{}, std::generic_category().message(errno)};
  if (size == 0) return {{}, "it is empty"};
  if (static_cast<size_t>(size) == text.size()) return {{}, "it is too long for a pidfile"};
  const auto pid = parse_pid({text.data(), static_cast<size_t>(size)});
  if (!pid) return {{}, "it holds no process number"};
  return {pid, {}};
}

std::optional<os::Process> named_process(const std::string& path) {
  const auto pid = read_pidfile(path).pid;
  auto process = pid ? os::Process::open(*pid) : std::nullopt;
  if (!process || !process->alive()) return std::nullopt;
  return process;
}

bool can_have_written(const os::Process& process, const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && !started_after(process.pid(), st.st_mtime);
}

std::optional<pid_t> remove_stale_pidfile(const std::string& path) {
  struct stat st {};
  const auto pid = read_pidfile(path).pid;
  if (!pid || ::stat(path.c_str(), &st) != 0 || !is_stale(*pid, st.st_mtime)) return std::nullopt;
  std::error_code gone;
  const std::string file = std::filesystem::canonical(path, gone).string();  // a link stays
  if (gone) return std::nullopt;
  if (::unlink(file.c_str()) == 0) return pid;
  if (errno == ENOENT) return std::nullopt;
  throw Error(errno, "remove the stale pidfile", file);
}

}  // namespace drover::flock
