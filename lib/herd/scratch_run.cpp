#include "lib/herd/scratch_run.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "lib/flock/pidfile.h"
#include "lib/herd/generation.h"
#include "lib/herd/pace.h"
#include "lib/herd/readiness.h"
#include "lib/herd/serving.h"
#include "lib/herd/stop.h"
#include "lib/os/error.h"
#include "lib/os/procfs.h"
#include "lib/os/spawn.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;

/// gunicorn forks its workers up to 100 ms apart.
constexpr auto kSettle = std::chrono::milliseconds(250);
/// A server writes its pidfile before it serves, or at once afterwards.
constexpr auto kPidfileLate = std::chrono::seconds(3);
/// No request is in flight.
constexpr std::chrono::seconds kDrain(10);
constexpr std::chrono::seconds kHurry(1);
constexpr auto kWorkerForked = std::chrono::seconds(5);
constexpr auto kLastWords = std::chrono::seconds(1);
/// So many workers may end before the server counts as broken.
constexpr size_t kEndedWorkers = 10;

/// While it lives, this process works in another folder.
class WorkingFolder {
 public:
  explicit WorkingFolder(const std::string& path)
      : before_(os::try_open(".", O_PATH | O_DIRECTORY)) {
    if (!before_ || ::chdir(path.c_str()) != 0) throw Error(errno, "change to the folder", path);
  }
  ~WorkingFolder() { (void)!::fchdir(before_.get()); }
  WorkingFolder(const WorkingFolder&) = delete;
  WorkingFolder& operator=(const WorkingFolder&) = delete;

 private:
  os::Fd before_;
};

}  // namespace

ScratchFolder::ScratchFolder(const std::string& above) : path_(above + "/drover-doctor.XXXXXX") {
  if (::mkdtemp(path_.data()) == nullptr) throw Error(errno, "make a folder in", above);
  path_ = os::canonical(path_);
  // A server that gives its rights away still has to get through it to its release.
  (void)::chmod(path_.c_str(), 0711);
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

ScratchRun::ScratchRun(asio::io_context& io, os::Children& children, const CheckupRequest& request,
                       const std::string& folder, ScratchLocks& locks,
                       std::function<bool()> stopping)
    : io_(io),
      children_(children),
      request_(request),
      locks_(locks),
      stopping_(std::move(stopping)),
      service_(request.pidfile, folder + "/high.lock", request.dialect, request.command) {}

void ScratchRun::launch(const std::vector<std::string>& command, const std::string& start_folder,
                        const std::optional<std::string>& pwd) {
  if (!request_.show_output) sink_ = os::try_open("/dev/null", O_WRONLY);
  const int sink = sink_ ? sink_.get() : STDERR_FILENO;
  output_ = Output::start({sink, sink});
  began_ = output_->mark();
  const auto [output, errors] = output_->server_ends();
  os::ChildSetup setup{.mask = request_.mask,
                       .new_session = true,
                       .output = output,
                       .errors = errors,
                       .environment = {"WATCHDOG_USEC", "WATCHDOG_PID", "NOTIFY_SOCKET"}};
  setup.environment.push_back(pwd ? "PWD=" + *pwd : "PWD");
  // As drover-hold would tell of the one that it takes.
  const ScratchLocks::Lock& lock = locks_.locks().back();
  setup.environment.push_back("DROVER_LOCK=" + lock.path);
  setup.environment.push_back(fmt::format("DROVER_LOCK_FD={}", lock.number));
  try {
    const WorkingFolder there(start_folder);
    service_.launched(children_, os::spawn(command, setup));
  } catch (const Error&) {
    locks_.let_go();
    output_->launched();
    (void)output_->finish(in(kLastWords));
    throw;
  }
  locks_.let_go();
  output_->launched();
}

std::vector<os::Process> ScratchRun::everybody() const {
  std::vector<os::Process> found = tree_of(::getpid());
  std::erase_if(found, [&](const os::Process& process) {
    return process.pid() == ::getpid() || (output_ && process.pid() == output_->pid()) ||
           !process.alive();
  });
  return found;
}

bool ScratchRun::serves_already() const {
  const auto processes = everybody();
  return std::any_of(processes.begin(), processes.end(), [](const os::Process& process) {
    return look_whether_serving(process.pid()) == Serving::yes;
  });
}

asio::awaitable<ScratchRun::Start> ScratchRun::booted() {
  Start result = Start::late;
  std::optional<Clock::time_point> serves_since;
  const auto decided = [&] {
    const auto status = service_.launcher_status();
    if (!service_.generations().empty()) {
      result = Start::serves;
    } else if (stopping_()) {
      result = Start::stopped;
    } else if (status && (status->wait_status != 0 || everybody().empty())) {
      result = Start::failed;
    } else if (!serves_already()) {
      serves_since.reset();
    } else if (!serves_since) {
      serves_since = Clock::now();
    } else if (Clock::now() - *serves_since >= kPidfileLate) {
      result = Start::no_pidfile;
    }
    return result != Start::late;
  };
  co_await until(decided, in(request_.boot_timeout));
  co_return result;
}

asio::awaitable<ScratchRun::Start> ScratchRun::started() {
  const Start boot = co_await booted();
  if (boot != Start::serves) co_return boot;
  service_.set_current(service_.generations().back());
  const Master first = master();
  if (!first) co_return Start::failed;
  booted_ = output_->mark(first->pid());
  const Dialect& dialect = service_.dialect();
  if (!dialect.has_workers()) co_return first->alive() ? Start::serves : Start::failed;
  Readiness readiness(0, kSettle, dialect.keeps_sockets ? first->pid() : 0);
  const auto decided = [&] {
    return stopping_() || !first->alive() ||
           readiness.look(service_.serving_processes(first->pid())) ||
           readiness.ended() > kEndedWorkers;
  };
  const bool in_time = co_await until(decided, in(request_.ready_timeout));
  problem_ = readiness.describe();
  if (!in_time || readiness.ended() > kEndedWorkers) co_return Start::late;
  co_return stopping_() ? Start::stopped : first->alive() ? Start::serves : Start::failed;
}

asio::awaitable<ReloadReport> ScratchRun::reloaded(std::function<void(const Step&)> on_step) {
  const Master first = master();
  ReloadOptions options;
  options.settle = kSettle;
  options.ready_timeout = request_.ready_timeout;
  options.drain_timeout = kDrain;
  const OutputMark mark = output_->mark(first->pid());
  const std::vector<std::string> environment;
  const ReloadContext context{
      .io = io_,
      .pidfile = request_.pidfile,
      .masters = service_.masters(),
      .dialect = service_.dialect(),
      .options = options,
      .current = first,
      .children = children_,
      .environment = environment,
      .stopping = stopping_,
      .said_ready = [](pid_t) { return false; },
      .said_reloading = [](pid_t) { return false; },
      .begun = on_step,
      .output = [&]() -> asio::awaitable<std::vector<std::string>> {
        co_await output_->catch_up();
        co_return output_->lines_since(mark);
      },
  };
  ReloadReport report = co_await reload(context);
  for (const Master& each : service_.generations())
    if (report.verdict == ReloadReport::Verdict::done && each->pid() == report.new_master)
      service_.set_current(each);
  co_return report;
}

asio::awaitable<void> ScratchRun::forked_once_more() {
  const Dialect& dialect = service_.dialect();
  const Master first = master();
  if (!first || !dialect.more_workers || !dialect.fewer_workers) co_return;
  const size_t before = workers().size();
  const auto more = [&] { return stopping_() || workers().size() > before; };
  const auto fewer = [&] { return stopping_() || workers().size() <= before; };
  if (!first->signal(*dialect.more_workers)) co_return;
  if (!co_await until(more, in(kWorkerForked))) co_return;
  if (first->signal(*dialect.fewer_workers)) co_await until(fewer, in(kWorkerForked));
}

asio::awaitable<ScratchRun::Ending> ScratchRun::ended(bool in_a_hurry) {
  const Dialect& dialect = service_.dialect();
  Ending ending{everybody().size(), in_a_hurry ? dialect.quick : dialect.graceful, {}};
  const auto masters = service_.generations();
  for (const Master& each : masters)
    (void)each->signal(ending.number);
  const auto gone = [&] {
    children_.reap();
    return everybody().empty();
  };
  // Without a master nobody can be asked.
  if (!masters.empty() && !co_await until(gone, in(in_a_hurry ? kHurry : kDrain)))
    for (const os::Process& process : everybody()) {
      const auto stat = os::read_stat(process.pid());
      ending.outlived.push_back(
          fmt::format("{} ({})", process.pid(), stat ? stat->command : "gone"));
    }
  const pid_t output = output_ ? output_->pid() : 0;
  co_await end_descendants(children_, output, kLastWords);
  if (output_) (void)output_->finish(in(kLastWords));
  try {  // one that fails or is killed leaves them, and a server might refuse to start by them
    for (const char* suffix : {"", ".oldbin", ".2"})
      (void)flock::remove_stale_pidfile(request_.pidfile + suffix);
  } catch (const Error&) {  // it was not allowed to write there either
  }
  co_return ending;
}

std::vector<pid_t> ScratchRun::workers() {
  const Master now = master();
  return now ? service_.workers_of(now->pid()) : std::vector<pid_t>();
}

bool ScratchRun::in_foreground() {
  const Master now = master();
  return now && now->pid() == service_.launcher();
}

std::vector<std::string> ScratchRun::last_words() const {
  std::vector<std::string> lines;
  if (output_ && began_) lines = output_->lines_since(*began_);
  if (lines.empty() && booted_) lines = output_->lines_since(*booted_);
  return lines;
}

}  // namespace drover::herd
