// A companion's output, copied to a file that can be opened anew while the companion runs.
#pragma once

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <functional>
#include <string>

#include "lib/os/fd.h"

namespace drover::companions {

/// A pipe and the file behind it. What is written survives each start of the companion, and ends
/// with the manager. A file that cannot be written loses the output, which is said once; the
/// companion goes on. Not for several threads; no wake-up while nothing is written.
class Log {
 public:
  using Warning = std::function<void(const std::string&)>;

  /// Appends to the file at `path`, which is made with mode 0644. Throws Error.
  Log(asio::io_context& io, std::string path, Warning warning);
  /// What has been written by now is in the file.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  /// For a companion to write to.
  [[nodiscard]] int fd() const noexcept { return writer_.get(); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// What is written from now on goes to the file that the path names then. Throws Error, and goes
  /// on with the old one.
  void reopen();

 private:
  void wait();
  /// False when nothing more is there now.
  bool copy_some();
  void write_out(const char* text, size_t size);

  std::string path_;
  Warning warning_;
  os::Fd file_;
  os::Fd writer_;
  asio::posix::stream_descriptor reader_;
  bool is_losing_ = false;
};

}  // namespace drover::companions
