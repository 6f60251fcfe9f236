// The pidfile: the master's number in a file, and its second name while a reload is under way.
#pragma once

#include <sys/types.h>

#include <string>

namespace drover::prefork {

/// Belongs to the process that calls write(). Every change is one rename(2) or unlink(2): a reader
/// sees a whole file or none.
class Pidfile {
 public:
  /// `path` may be empty: then there is no file, and every call does nothing.
  explicit Pidfile(std::string path);

  /// Puts this process's number at PIDFILE. Throws Error, also when the file is another server's.
  void write();
  /// PIDFILE becomes PIDFILE.oldbin: PIDFILE is free for the successor. Throws Error.
  void step_aside();
  /// PIDFILE.oldbin becomes PIDFILE again, unless a process other than `successor`, which is dead,
  /// has written itself there. Throws Error.
  void come_back(pid_t successor);
  /// Removes the file, by the name that it has now, if it still holds this process's number.
  void remove() noexcept;

 private:
  [[nodiscard]] std::string old_path() const { return path_ + ".oldbin"; }
  void write_to(const std::string& target);

  std::string path_;
  std::string current_;  ///< the name now: PIDFILE or PIDFILE.oldbin; empty before write()
};

}  // namespace drover::prefork
