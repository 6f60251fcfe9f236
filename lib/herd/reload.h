// One hot reload, from the question to the verdict: the new generation serves, or the old one still
// does.
#pragma once

#include <asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/herd/dialect.h"
#include "lib/herd/masters.h"
#include "lib/herd/probe.h"
#include "lib/os/children.h"

namespace drover::herd {

enum class Retire { all, one_by_one };

struct ReloadOptions {
  std::optional<std::string>
      check;  ///< a shell command that has to succeed before anything is done
  std::vector<Probe> probes;
  std::chrono::nanoseconds settle = std::chrono::seconds(1);
  std::chrono::nanoseconds overlap{0};
  std::chrono::nanoseconds ready_timeout = std::chrono::seconds(60);
  std::chrono::nanoseconds drain_timeout = std::chrono::minutes(5);
  Retire retire = Retire::all;
};

struct Step {
  std::string name;
  std::chrono::steady_clock::time_point begin;
  std::chrono::nanoseconds duration{0};
  std::string note = {};
};

struct ReloadReport {
  enum class Verdict { done, failed, refused } verdict = Verdict::done;
  std::string reason = {};
  std::vector<std::string> output = {};  ///< the last lines that the successor wrote
  pid_t old_master = 0;
  pid_t new_master = 0;
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  std::chrono::nanoseconds duration{0};
  std::vector<Step> steps = {};
};

/// What a reload needs of the herd that it happens in.
struct ReloadContext {
  asio::io_context& io;
  const std::string& pidfile;
  Masters& masters;
  const Dialect& dialect;
  const ReloadOptions& options;
  Master current;                               ///< the master that serves
  bool was_begun = false;                       ///< the server was asked already: go on from there
  os::Children& children;                       ///< who reaps
  const std::vector<std::string>& environment;  ///< for --check and exec probes
  std::function<bool()> stopping;               ///< a stop was asked for: give up
  std::function<bool(pid_t)> said_ready;        ///< it, or a process below it, has said READY=1
  std::function<bool(pid_t)> said_reloading;    ///< RELOADING=1: it will say READY=1 in the end
  std::function<bool(pid_t)> is_company = {};   ///< a child of ours that is none of the server's
  std::function<void(const Step&)> begun;       ///< told of each step
  /// The last lines that were written since the reload began.
  std::function<asio::awaitable<std::vector<std::string>>()> output;
};

/// Never throws but for a failure of the system. At the end with verdict `done` the new master is
/// `new_master`, and no process of the old generation lives; with `failed`, no process of the new
/// one, and the old one has its workers, unless the reason says otherwise. Stopped on the way:
/// `refused`, and nothing was put back.
asio::awaitable<ReloadReport> reload(const ReloadContext& context);

}  // namespace drover::herd
