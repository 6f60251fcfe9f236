// What the parts of a herd say to people.
#pragma once

#include "lib/flock/wait.h"

namespace drover::herd {

struct Voice {
  flock::Notice notice;   ///< what happens
  flock::Notice warning;  ///< what somebody should look at
};

}  // namespace drover::herd
