// A plan from the file of a wrapper, whose release may be switched for another at any moment.
#pragma once

#include <string>
#include <vector>

#include "lib/environ/plan.h"

namespace drover::environ {

/// make_plan() for the wrapper at `path`, which is read after a look at who may write to it. When a
/// deployment switches a link in its path meanwhile, everything is done again, so that all of it is
/// of one release when this returns. `insecure_paths` is as in the wrapper. Throws Error: as
/// make_plan(), and EAGAIN when that goes on and on.
Plan make_plan_of_file(const std::string& path, const std::vector<std::string>& arguments,
                       const Caller& caller, bool insecure_paths);

}  // namespace drover::environ
