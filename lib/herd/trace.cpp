#include "lib/herd/trace.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>

#include "lib/control/protocol.h"
#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::herd {
namespace {

double microseconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

}  // namespace

void append_trace(const std::string& path, int number, const ReloadReport& report) {
  const os::Fd file = os::try_open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, 0644);
  if (!file) throw Error(errno, "write trace", path);
  std::string text = os::stat_of(file.get(), path).st_size == 0 ? "[\n" : "";
  for (const Step& step : report.steps) {
    const control::Json event{{"name", step.name},
                              {"ph", "X"},
                              {"ts", microseconds(step.begin.time_since_epoch())},
                              {"dur", microseconds(step.duration)},
                              {"pid", ::getpid()},
                              {"tid", number},
                              {"args", {{"note", step.note}, {"master", report.new_master}}}};
    text += event.dump(-1, ' ', false, control::Json::error_handler_t::replace) + ",\n";
  }
  ssize_t written;
  do {
    written = ::write(file.get(), text.data(), text.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) throw Error(errno, "write trace", path);
  if (static_cast<size_t>(written) < text.size()) throw Error(ENOSPC, "write trace", path);
}

}  // namespace drover::herd
