// The signals of a process with an event loop, taken in one place.
#pragma once

#include <signal.h>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <functional>

namespace drover::os {

/// While it lives, and while the loop runs, signals are taken by signalfd(2): one in each turn of
/// the loop, so that a storm of them keeps nothing else from being seen. Several of one kind that
/// come together may be one, as always. Not for several threads.
class TakenSignals {
 public:
  using Take = std::function<void(int number)>;

  /// The caller has blocked `set`. What `take` throws leaves the loop. Throws Error.
  TakenSignals(asio::io_context& io, const sigset_t& set, Take take);

 private:
  void wait();

  Take take_;
  asio::posix::stream_descriptor descriptor_;
};

}  // namespace drover::os
