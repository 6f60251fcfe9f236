// What is shown of a herd at this moment, by drover-ctl (lib/control/protocol.h) and by its
// supervisor.
#pragma once

#include <string>

#include "lib/control/protocol.h"
#include "lib/herd/service.h"

namespace drover::herd {

/// For people, in a line: "Serving: unicorn, master 812".
std::string describe(Service& service);
/// The masters, oldest first, with their role and their workers.
control::Json generations_of(Service& service);
/// The pids that hold the lock.
control::Json holder_pids(const Service& service);
/// The same with what each of them is.
control::Json holders_of(const Service& service);

}  // namespace drover::herd
