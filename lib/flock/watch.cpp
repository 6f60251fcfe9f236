#include "lib/flock/watch.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <asio/co_spawn.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>

#include "lib/flock/departure.h"
#include "lib/os/error.h"
#include "lib/os/memory.h"
#include "lib/os/thread.h"
#include "lib/os/timer.h"

namespace drover::flock {
namespace {

using Clock = std::chrono::steady_clock;

os::Deadline after(const std::optional<std::chrono::nanoseconds>& duration) {
  if (!duration) return std::nullopt;
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(*duration);
}

}  // namespace

/// Where the threads say that they are done. They share it: it may outlive the Watch.
struct Watch::Pipe {
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, "make a pipe");
    reader = os::Fd(ends[0]);
    writer = os::Fd(ends[1]);
    ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);
  }
  os::Fd reader;
  os::Fd writer;
};

/// What a thread waits for. It keeps waiting when nobody asks any more, and then just closes the
/// file.
struct Watch::Job {
  LockFile file;
  uint64_t id = 0;
  std::shared_ptr<Pipe> pipe = {};
  std::exception_ptr failure = {};

  void run() noexcept {
    try {
      wait_until_free(file);
    } catch (const Error&) {
      failure = std::current_exception();
    }
    while (::write(pipe->writer.get(), &id, sizeof id) < 0 && errno == EINTR) {
    }
  }
};

Watch::Watch(asio::io_context& io, WatchOptions options, Notice notice)
    : io_(io),
      options_(options),
      notice_(std::move(notice)),
      held_above_(locks_held_above()),
      arrivals_(io),
      pipe_(std::make_shared<Pipe>()),
      finished_(io, pipe_->reader.get()) {
  read_finished();
}

Watch::~Watch() { finished_.release(); }

void Watch::read_finished() {
  finished_.async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code error) {
    if (cancelled(error)) return;
    uint64_t id = 0;
    while (::read(pipe_->reader.get(), &id, sizeof id) == sizeof id)
      if (auto waiting = waiting_.extract(id)) asio::post(io_, std::move(waiting.mapped()));
    read_finished();
  });
}

asio::awaitable<void> Watch::free(std::shared_ptr<Job> job) {
  job->id = ++last_job_;
  job->pipe = pipe_;
  os::start_detached([job] { job->run(); });
  co_await finished(job->id);
  if (job->failure) std::rethrow_exception(job->failure);
}

/// Without a timer, which would wake the process now and then. Who is still suspended at the end of
/// the Watch is destroyed with it.
asio::awaitable<void> Watch::finished(uint64_t job) {
  return asio::async_initiate<const asio::use_awaitable_t<>, void()>(
      [this, job](auto handler) {
        const auto resume = std::make_shared<decltype(handler)>(std::move(handler));
        waiting_.emplace(job, [resume] { std::move (*resume)(); });
      },
      asio::use_awaitable);
}

asio::awaitable<std::optional<LockFile>> Watch::begun(std::string path) {
  std::optional<LockFile> file;
  if (options_.start) {
    Arrival arrival = co_await arrivals_.next(path, after(options_.start));
    if (arrival.kind == Arrival::Kind::nobody) throw_nobody_came(path);
    file = std::move(arrival.file);
  } else {
    file = open_held(path);
  }
  if (file) refuse_own(*file);
  co_return file;
}

asio::awaitable<std::optional<LockFile>> Watch::successor(const LockFile& freed) {
  const Afterlife next = afterlife(freed);
  if (next == Afterlife::restarted && !options_.grace)
    notice_(fmt::format("'{}' has ended and was started anew", freed.path()));
  if (next == Afterlife::replaced) {
    notice_(fmt::format("'{}' names another file now: waiting for that one", freed.path()));
    co_return LockFile::open(freed.path());
  }
  if (!options_.grace) co_return std::nullopt;
  try {
    for (;;) {
      Arrival arrival = co_await arrivals_.next(freed.path(), after(options_.grace));
      if (arrival.kind == Arrival::Kind::came_and_went) continue;
      if (arrival.file)
        notice_(fmt::format("'{}' has a successor: waiting for that one", freed.path()));
      co_return std::move(arrival.file);
    }
  } catch (const Error& error) {
    if (error.err() != ENOENT && error.err() != ENOTDIR && error.err() != EISDIR &&
        error.err() != EINVAL && error.err() != ELOOP)
      throw;
    // The folder went with the service, or something else took the lock's place.
    notice_(fmt::format("no successor: {}", error.what()));
    co_return std::nullopt;
  }
}

asio::awaitable<void> Watch::ended(LockFile file) {
  for (std::optional<LockFile> next(std::move(file)); next;) {
    const auto job = std::make_shared<Job>(Job{.file = std::move(*next)});
    std::optional<RootHolders> masters;
    if (options_.report) masters.emplace(job->file);
    co_await free(job);
    if (freed_) freed_();
    if (masters) masters->report(notice_);
    next = co_await successor(job->file);
  }
}

namespace {

/// How far the services of one request have got.
struct Progress {
  std::exception_ptr failure;
  std::vector<std::string> awaited;  ///< whose first holder has yet to come
  size_t begun = 0;
  size_t ended = 0;
};

asio::awaitable<void> follow(Watch& watch, std::string path, std::optional<LockFile> file,
                             Progress& progress) {
  if (!file) file = co_await watch.begun(path);
  ++progress.begun;
  std::erase(progress.awaited, path);
  if (file) co_await watch.ended(std::move(*file));
}

WaitResult wait_in_loop(const WaitRequest& request, const Notice& notice) {
  asio::io_context io(1);
  Watch watch(io, request.watch, notice);
  WaitResult result;
  Progress progress;
  progress.awaited = request.paths;
  const size_t wanted = request.any ? 1 : request.paths.size();

  std::vector<LockFile> held;
  if (!request.watch.start) held = open_all_held(request.paths);
  for (size_t at = 0; at < request.paths.size(); ++at) {
    const std::string& path = request.paths[at];
    std::optional<LockFile> file;
    if (!held.empty()) {
      file = std::move(held[at]);
      watch.refuse_own(*file);
    }
    const auto done = [&](const std::exception_ptr& error) {
      if (error) {
        progress.failure = error;
      } else if (++progress.ended == wanted) {
        result = {true, path};
      }
      if (progress.failure || progress.ended >= wanted) io.stop();
    };
    asio::co_spawn(io, follow(watch, path, std::move(file), progress), done);
  }
  io.poll();  // the first look comes before any limit
  os::release_free_memory();
  os::Timer limit(io);
  if (request.limit) {
    limit.expires_at(*request.limit);
    limit.async_wait([&io](asio::error_code error) {
      if (!cancelled(error)) io.stop();
    });
  }
  io.run();
  if (progress.failure) std::rethrow_exception(progress.failure);
  // The limit came first. "Still held" would be untrue when nobody is there any more, or yet.
  if (!result.gone && progress.begun == progress.ended && !progress.awaited.empty())
    throw_nobody_came(progress.awaited.front());
  if (result.gone) wait_for_exiting_processes(Clock::now() + std::chrono::seconds(1));
  return result;
}

}  // namespace

WaitResult wait(const WaitRequest& request, const Notice& notice) {
  const bool simple =
      request.paths.size() == 1 && !request.limit && !request.watch.start && !request.watch.grace;
  if (!simple) return wait_in_loop(request, notice);
  wait_until_gone(request.paths[0], request.watch.report, notice);
  return {true, request.paths[0]};
}

}  // namespace drover::flock
