#include "lib/os/signals.h"

#include <fmt/core.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>

#include "lib/os/error.h"

namespace drover::os {
namespace {

bool is_signal(int number) {
  return number > 0 && number <= SIGRTMAX && number != 32 && number != 33;
}

/// What kill(1) and shells call it as well; empty for most.
std::string second_name(int number) {
  if (number == SIGABRT) return "SIGIOT";
  if (number == SIGCHLD) return "SIGCLD";
  if (number == SIGPOLL) return "SIGIO";
  if (number == SIGRTMAX) return "SIGRTMAX";
  return number >= SIGRTMIN ? fmt::format("SIGRTMAX-{}", SIGRTMAX - number) : "";
}

}  // namespace

std::string signal_name(int number) {
  if (number >= SIGRTMIN && number <= SIGRTMAX)
    return number == SIGRTMIN ? "SIGRTMIN" : fmt::format("SIGRTMIN+{}", number - SIGRTMIN);
  const char* name = sigabbrev_np(number);
  return name == nullptr ? fmt::format("signal {}", number) : fmt::format("SIG{}", name);
}

std::optional<int> parse_signal(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size())
    return is_signal(number) ? std::optional(number) : std::nullopt;
  std::string name(text);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  if (!name.starts_with("SIG")) name.insert(0, "SIG");
  for (int candidate = 1; candidate <= SIGRTMAX; ++candidate)
    if (is_signal(candidate) && (signal_name(candidate) == name || second_name(candidate) == name))
      return candidate;
  return std::nullopt;
}

sigset_t signal_set(std::initializer_list<int> numbers) noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : numbers)
    sigaddset(&set, number);
  return set;
}

sigset_t forwardable_signals() noexcept {
  sigset_t set;
  sigfillset(&set);
  for (const int number :
       {SIGKILL, SIGSTOP, SIGCHLD, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
    sigdelset(&set, number);
  return set;
}

void block_signals(const sigset_t& set) noexcept { ::pthread_sigmask(SIG_BLOCK, &set, nullptr); }

BlockedSignals::BlockedSignals(const sigset_t& set) noexcept {
  ::pthread_sigmask(SIG_BLOCK, &set, &previous_);
}

BlockedSignals::~BlockedSignals() { ::pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }

ReapableChildren::ReapableChildren() noexcept {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &action, &previous_);
}

ReapableChildren::~ReapableChildren() { ::sigaction(SIGCHLD, &previous_, nullptr); }

Fd open_signalfd(const sigset_t& set) {
  Fd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) throw Error(errno, "receive signals");
  return fd;
}

Interrupter::Interrupter(Deadline deadline) {
  if (!deadline) return;
  // First: nothing else keeps the signal from ending the process.
  struct sigaction action {};
  action.sa_handler = [](int) {};  // no SA_RESTART: interrupting is all it is for
  if (::sigaction(SIGALRM, &action, &previous_action_) != 0) throw Error(errno, "set a timer");
  const sigset_t alarm = signal_set({SIGALRM});
  ::pthread_sigmask(SIG_UNBLOCK, &alarm, &previous_mask_);

  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGALRM;
  event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
  const auto left = *deadline - std::chrono::steady_clock::now();
  const long long ns =
      std::max(1LL, static_cast<long long>(std::chrono::nanoseconds(left).count()));
  itimerspec spec{};
  spec.it_value = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  spec.it_interval = {0, 10'000'000};
  armed_ = ::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  if (armed_ && ::timer_settime(timer_, 0, &spec, nullptr) == 0) return;
  const int err = errno;
  disarm();
  throw Error(err, "set a timer");
}

Interrupter::~Interrupter() {
  if (armed_) disarm();
}

void Interrupter::disarm() noexcept {
  if (armed_ && ::timer_delete(timer_) != 0) return;  // its signals find the empty handler
  // A SIGALRM that is already pending reaches that handler when this call returns.
  ::pthread_sigmask(SIG_SETMASK, &previous_mask_, nullptr);
  ::sigaction(SIGALRM, &previous_action_, nullptr);
}

}  // namespace drover::os
