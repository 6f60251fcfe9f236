#include "lib/companions/log.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "lib/os/error.h"

namespace drover::companions {
namespace {

os::Fd open_file(const std::string& path) {
  os::Fd file = os::try_open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK, 0644);
  if (!file) throw Error(errno, "open log", path);
  if (S_ISFIFO(os::stat_of(file.get(), path).st_mode))
    throw Error::because(EINVAL, "open log", path, "it is a FIFO");
  return file;
}

}  // namespace

Log::Log(asio::io_context& io, std::string path, Warning warning)
    : path_(std::move(path)), warning_(std::move(warning)), file_(open_file(path_)), reader_(io) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Error(errno, "make a pipe for log", path_);
  writer_.reset(ends[1]);
  os::Fd reader(ends[0]);
  if (::fcntl(reader.get(), F_SETFL, O_NONBLOCK) != 0) throw Error(errno, "read for log", path_);
  reader_.assign(reader.get());
  (void)reader.release();
  wait();
}

Log::~Log() {
  while (copy_some()) {
  }
}

void Log::reopen() { file_ = open_file(path_); }

void Log::wait() {
  reader_.async_wait(asio::posix::stream_descriptor::wait_read, [this](asio::error_code error) {
    if (error) return;
    (void)copy_some();
    wait();
  });
}

bool Log::copy_some() {
  std::array<char, 16384> piece;
  const ssize_t size = ::read(reader_.native_handle(), piece.data(), piece.size());
  if (size > 0) write_out(piece.data(), static_cast<size_t>(size));
  return size > 0 || (size < 0 && errno == EINTR);
}

void Log::write_out(const char* text, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(file_.get(), text, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      if (!is_losing_)
        warning_(fmt::format("cannot write to log '{}': {}; its output is lost", path_,
                             std::generic_category().message(errno)));
      is_losing_ = true;
      return;
    }
    is_losing_ = false;
    text += written;
    size -= static_cast<size_t>(written);
  }
}

}  // namespace drover::companions
