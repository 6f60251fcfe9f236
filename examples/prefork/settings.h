// What the command line asks for.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace drover::prefork {

using Clock = std::chrono::steady_clock;

/// As many as there are places for heartbeats.
constexpr int kMostWorkers = 256;

struct Settings {
  std::vector<std::string> addresses;  ///< "127.0.0.1:8080", "[::1]:8080", "unix:/run/app.sock"
  int workers = 2;
  Clock::duration timeout = std::chrono::seconds(30);
  std::string pidfile;  ///< absolute; empty: none
  std::string log;      ///< absolute; empty: standard error
  bool daemonize = false;
  bool keep_alive = false;
  size_t preload_mb = 0;
  std::string reply;  ///< empty: who answers
};

}  // namespace drover::prefork
