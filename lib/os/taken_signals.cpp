#include "lib/os/taken_signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <system_error>
#include <utility>

#include "lib/os/signals.h"

namespace drover::os {

TakenSignals::TakenSignals(asio::io_context& io, const sigset_t& set, Take take)
    : take_(std::move(take)), descriptor_(io) {
  Fd signals = open_signalfd(set);
  descriptor_.assign(signals.get());
  (void)signals.release();
  wait();
}

void TakenSignals::wait() {
  descriptor_.async_wait(descriptor_.wait_read, [this](asio::error_code error) {
    if (error == asio::error::operation_aborted) return;
    if (error) throw std::system_error(error, "wait for signals");
    signalfd_siginfo info{};
    if (::read(descriptor_.native_handle(), &info, sizeof info) == sizeof info)
      take_(static_cast<int>(info.ssi_signo));
    wait();
  });
}

}  // namespace drover::os
