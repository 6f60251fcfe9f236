#include "lib/herd/stop.h"

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "lib/herd/generation.h"
#include "lib/herd/pace.h"
#include "lib/os/error.h"
#include "lib/os/procfs.h"
#include "lib/os/signals.h"

namespace drover::herd {
namespace {

constexpr auto kKilled = std::chrono::seconds(10);

std::vector<os::Process> descendants(pid_t but) {
  std::vector<os::Process> found = tree_of(::getpid());
  std::erase_if(found, [but](const os::Process& process) {
    return process.pid() == ::getpid() || process.pid() == but || !process.may_signal();
  });
  return found;
}

}  // namespace

void pass(const os::Process& process, int number, std::string_view role, const Voice& voice) {
  try {
    voice.notice(fmt::format("{} {} to {} {}",
                             process.signal(number) ? "passed" : "too late to pass",
                             os::signal_name(number), role, process.pid()));
  } catch (const Error& error) {
    voice.warning(error.what());
  }
}

void Stop::ask(int number) {
  number_ = number;
  told_.clear();
  attempt([this] { tell(); });
}

/// Also one that has executed itself since, or that has more handlers by now: a signal on the way
/// there, or to an interpreter that was loading the server, may be lost.
bool Stop::is_to_be_told(pid_t pid) {
  Told now{os::read_proc(fmt::format("/proc/{}/auxv", pid)), os::caught_signals(pid)};
  const auto [known, is_first] = told_.try_emplace(pid, now);
  if (is_first) return true;
  Told& before = known->second;
  if (now.image.empty()) return false;
  const bool catches = (now.handlers >> (*number_ - 1) & 1) != 0;
  const bool has_more = catches && (now.handlers & ~before.handlers) != 0;
  const bool is_another = now.image != before.image;
  before = std::move(now);
  return is_another || has_more;
}

/// What fails now, as without a descriptor for a look at /proc, may succeed in a moment.
void Stop::attempt(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    if (!std::exchange(warned_, true)) voice_.warning(error.what());
  }
}

void Stop::tell() {
  const auto masters = service_.generations();
  for (const Master& master : masters)
    if (is_to_be_told(master->pid())) pass(*master, *number_, "master", voice_);
  if (!masters.empty()) return;
  if (const pid_t launcher = service_.launcher(); launcher != 0) {
    if (is_to_be_told(launcher)) ::kill(launcher, *number_);  // ours, and not reaped
    return;
  }
  for (const os::Process& orphan : service_.processes())
    if (is_to_be_told(orphan.pid())) pass(orphan, *number_, "process", voice_);
}

asio::awaitable<void> Stop::enforced(std::function<bool()> gone, std::chrono::nanoseconds limit) {
  const auto obeyed = [&] {
    if (gone()) return true;
    attempt([this] { tell(); });
    return false;
  };
  if (co_await until(obeyed, in(limit))) co_return;
  voice_.warning(fmt::format("not stopped in {} s: killing what is left", seconds(limit)));
  const auto killed = [&] {
    if (gone()) return true;
    attempt([this] { service_.kill(); });
    return false;
  };
  co_await until(killed, std::nullopt);
}

asio::awaitable<void> end_descendants(os::Children& children, pid_t but,
                                      std::chrono::nanoseconds patience) {
  const auto gone = [&] {
    children.reap();
    return descendants(but).empty();
  };
  if (gone()) co_return;
  for (const os::Process& process : descendants(but))
    (void)process.signal(SIGTERM);
  if (co_await until(gone, in(patience))) co_return;
  const auto killed = [&] {
    for (const os::Process& process : descendants(but))
      (void)process.signal(SIGKILL);
    return gone();
  };
  co_await until(killed, in(kKilled));
}

}  // namespace drover::herd
