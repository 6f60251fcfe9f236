// Work that goes on by itself beside everything else.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <exception>
#include <utility>

#include "lib/herd/voice.h"

namespace drover::herd {

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
