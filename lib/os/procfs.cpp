#include "lib/os/procfs.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>

#include "lib/os/error.h"

namespace drover::os {
namespace {

/// Splits off the next blank-separated word and reads it as a number.
template <class Number>
bool next_number(std::string_view& rest, Number& value) {
  while (!rest.empty() && rest.front() == ' ')
    rest.remove_prefix(1);
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc{}) return false;
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  return true;
}

bool skip_words(std::string_view& rest, int count) {
  while (count-- > 0) {
    while (!rest.empty() && rest.front() == ' ')
      rest.remove_prefix(1);
    const auto blank = rest.find(' ');
    if (blank == std::string_view::npos) return false;
    rest.remove_prefix(blank);
  }
  return true;
}

std::vector<pid_t> numbers_in(const std::string& path) {
  std::vector<pid_t> numbers;
  NumberedDir dir(path);
  if (!dir) return numbers;
  for (int number; (number = dir.next()) >= 0;)
    numbers.push_back(number);
  return numbers;
}

}  // namespace

std::optional<ProcessStat> parse_stat(std::string_view line) {
  const auto open = line.find('(');
  const auto close = line.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open ||
      close + 3 > line.size())
    return std::nullopt;
  ProcessStat stat;
  std::string_view head = line.substr(0, open);
  if (!next_number(head, stat.pid)) return std::nullopt;
  stat.command = line.substr(open + 1, close - open - 1);
  stat.state = line[close + 2];
  std::string_view rest = line.substr(close + 3);
  if (!next_number(rest, stat.parent) || !next_number(rest, stat.group) ||
      !next_number(rest, stat.session) || !skip_words(rest, 2) || !next_number(rest, stat.flags) ||
      !skip_words(rest, 1) || !next_number(rest, stat.child_faults) || !skip_words(rest, 8) ||
      !next_number(rest, stat.threads) || !skip_words(rest, 1) || !next_number(rest, stat.start))
    return std::nullopt;
  return stat;
}

std::optional<ProcessStat> read_stat(pid_t pid) {
  // On the stack: this runs once per process of the machine when a port has to be free.
  std::array<char, 1024> text;
  const Fd file = try_open(fmt::format("/proc/{}/stat", pid), O_RDONLY);
  if (!file) return std::nullopt;
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size <= 0) return std::nullopt;
  return parse_stat({text.data(), static_cast<size_t>(size)});
}

std::string read_proc(const std::string& path, size_t limit) {
  std::string text;
  const Fd file = try_open(path, O_RDONLY);
  if (!file) return text;
  std::array<char, 4096> chunk;
  while (text.size() < limit) {
    const ssize_t size =
        ::read(file.get(), chunk.data(), std::min(chunk.size(), limit - text.size()));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    text.append(chunk.data(), static_cast<size_t>(size));
  }
  return text;
}

Environment environment_of(pid_t pid) {
  Environment found;
  const std::string text = read_proc(fmt::format("/proc/{}/environ", pid), 1 << 21);
  for (size_t at = 0; at < text.size();) {
    const std::string entry = text.c_str() + at;  // up to the next NUL
    if (const auto equals = entry.find('='); equals != std::string::npos)
      found.emplace(entry.substr(0, equals), entry.substr(equals + 1));
    at += entry.size() + 1;
  }
  return found;
}

uint64_t caught_signals(pid_t pid) {
  constexpr std::string_view kField = "\nSigCgt:\t";
  const std::string text = read_proc(fmt::format("/proc/{}/status", pid));
  const auto at = text.find(kField);
  uint64_t signals = 0;
  if (at != std::string::npos)
    std::from_chars(text.data() + at + kField.size(), text.data() + text.size(), signals, 16);
  return signals;
}

bool proc_is_ours() noexcept {
  std::array<char, 16> target;
  const ssize_t size = ::readlink("/proc/self", target.data(), target.size());
  pid_t pid = 0;
  if (size > 0) std::from_chars(target.data(), target.data() + size, pid);
  return pid == ::getpid();
}

int NumberedDir::next() noexcept {
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir_);
    if (entry == nullptr) {
      error_ = errno;
      return -1;
    }
    const std::string_view name = entry->d_name;
    int number = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc{} && end == name.data() + name.size()) return number;
  }
}

std::vector<pid_t> all_processes() {
  NumberedDir dir("/proc");
  int err = dir ? 0 : errno;
  std::vector<pid_t> pids;
  for (int pid; err == 0 && (pid = dir.next()) >= 0;)
    pids.push_back(pid);
  if (err == 0) err = dir.error();
  if (err == 0 && pids.empty()) err = ENOSYS;
  // A missing /proc must not look like a missing lock.
  if (err != 0)
    throw Error::because(err == ENOENT ? EIO : err, "list processes in", "/proc",
                         std::generic_category().message(err));
  std::sort(pids.begin(), pids.end());
  return pids;
}

std::vector<pid_t> threads_of(pid_t pid) { return numbers_in(fmt::format("/proc/{}/task", pid)); }

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  for (const pid_t thread : threads_of(pid)) {
    const std::string text = read_proc(fmt::format("/proc/{}/task/{}/children", pid, thread));
    std::string_view rest = text;
    for (pid_t child = 0; next_number(rest, child);)
      children.push_back(child);
  }
  return children;
}

std::vector<pid_t> ancestors_of(pid_t pid) {
  std::vector<pid_t> chain;
  // Bounded: a chain read while processes are re-parented could otherwise run in a circle.
  for (auto stat = read_stat(pid); stat && stat->parent > 0 && chain.size() < 4096;
       stat = read_stat(stat->parent))
    chain.push_back(stat->parent);
  return chain;
}

long long boot_time() {
  const std::string text = read_proc("/proc/stat");
  const auto at = text.find("\nbtime ");
  long long seconds = 0;
  if (at == std::string::npos) return 0;
  std::string_view rest = std::string_view(text).substr(at + 7);
  return next_number(rest, seconds) ? seconds : 0;
}

}  // namespace drover::os
