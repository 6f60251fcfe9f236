// What was decided on the way to an environment, and why: what --explain shows.
#pragma once

#include <string>
#include <vector>

namespace drover::environ {

struct Step {
  enum class Kind {
    set,           ///< variable `subject` got the value `text`
    unset,         ///< variable `subject` was removed
    part_added,    ///< `text` was put in front of the list `subject` (PATH)
    part_removed,  ///< `text` was taken out of the list `subject`
    chosen,        ///< `subject` (ruby, bundler, command) is `text`
    warning,       ///< `text`; about `subject`
  };
  Kind kind;
  std::string subject;
  std::string text;
  std::string reason;  ///< the rule, or the "file:line", behind it
};

using Steps = std::vector<Step>;

}  // namespace drover::environ
