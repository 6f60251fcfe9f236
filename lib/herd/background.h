// What a program's event loop does: the work that it lives for, and work that goes on beside it.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <exception>
#include <utility>

#include "lib/herd/voice.h"

namespace drover::herd {

/// Blocks until the work is done, whatever else goes on. Throws what it throws.
inline void run_until_done(asio::io_context& io, asio::awaitable<void> work) {
  std::exception_ptr failure;
  asio::co_spawn(io, std::move(work), [&](const std::exception_ptr& error) {
    failure = error;
    io.stop();
  });
  io.run();
  if (failure) std::rethrow_exception(failure);
}

/// Begins with the loop's next turn. What it throws is a warning.
inline void in_background(asio::io_context& io, const Voice& voice, asio::awaitable<void> work) {
  asio::co_spawn(io, std::move(work), [&voice](const std::exception_ptr& error) {
    if (!error) return;
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& failure) {
      voice.warning(failure.what());
    }
  });
}

}  // namespace drover::herd
