// What ps(1) shows: "prefork master", "prefork worker[0]".
#pragma once

#include <cstddef>
#include <string_view>

namespace drover::prefork {

/// The kernel shows as a process's command line whatever stands in the memory where it once put
/// argv, so a process renames itself by writing there. The environment follows argv in the same
/// block: it is copied away first, which makes room for a title longer than argv was.
///
/// Make one, at the start of main, when argv has been read: its strings are overwritten.
class Title {
 public:
  Title(int argc, char** argv);
  void set(std::string_view title) noexcept;

 private:
  char* start_;
  size_t shown_ = 0;  ///< bytes that may be in use: of argv, or of a title that was longer
  size_t size_ = 0;   ///< bytes of argv and of the environment that follows it
};

}  // namespace drover::prefork
