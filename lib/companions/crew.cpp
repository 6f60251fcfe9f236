#include "lib/companions/crew.h"

#include <fmt/core.h>
#include <unistd.h>

#include <asio/post.hpp>
#include <utility>

#include "lib/companions/keepers.h"
#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::companions {

Crew::Crew(asio::io_context& io, const std::string& config, std::string default_run_dir,
           Voice voice, CrewHooks hooks)
    : io_(io),
      voice_(std::move(voice)),
      hooks_(std::move(hooks)),
      config_(os::absolute(config)),
      default_run_dir_(std::move(default_run_dir)),
      manager_(io, first_read(),
               {voice_.warning,
                [this](const Companion& companion, State before) { moved(companion, before); },
                [this] {
                  desk_.ended();
                  hooks_.ended();
                }}),
      desk_(io, manager_, {[this] { return read(); }}) {}

Specs Crew::read() const { return read_specs(config_, default_run_dir_); }

Specs Crew::first_read() {
  Specs specs = read();
  run_dir_ = specs.run_dir;
  return specs;
}

void Crew::reread() {
  if (!manager_.is_stopping()) manager_.reread(read());
}

void Crew::moved(const Companion& companion, State before) {
  desk_.moved(companion, before);
  const std::string& reason = companion.history().reason;
  const std::string text =
      fmt::format("{}: {} -> {}{}{}", companion.spec().name, name_of(before),
                  name_of(companion.state()), reason.empty() ? "" : ": ", reason);
  voice_for(companion.state())(text);
  if (hooks_.moved) hooks_.moved(text);
  if (companion.state() == State::stopped && companion.spec().singleton())
    leave(companion.spec().lock);
}

const std::function<void(const std::string&)>& Crew::voice_for(State state) const {
  switch (state) {
    case State::backoff:
    case State::fatal:
      return voice_.warning;
    case State::running:
    case State::stopped:
    case State::exited:
      return voice_.notice;
    default:
      return voice_.detail;
  }
}

/// What a stop could not reach has left the process group, and keeps the lock. One look for all
/// that have stopped in one turn of the loop.
void Crew::leave(const std::string& lock) {
  left_.push_back(lock);
  if (left_.size() == 1) asio::post(io_, [this] { report_leftovers(); });
}

void Crew::report_leftovers() {
  const auto locks = std::exchange(left_, {});
  try {
    for (const auto& [lock, keeper] : keepers_below(locks, ::getpid()))
      voice_.warning("left behind a stop: " + describe(keeper, lock));
  } catch (const Error& error) {
    voice_.warning(error.what());
  }
}

}  // namespace drover::companions
