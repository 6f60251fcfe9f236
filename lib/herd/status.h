// What drover-ctl shows of a herd at this moment: lib/control/protocol.h.
#pragma once

#include <string>

#include "lib/control/protocol.h"
#include "lib/herd/service.h"

namespace drover::herd {

/// The masters, oldest first, with their role and their workers.
control::Json generations_of(Service& service);
/// The pids that hold the lock.
control::Json holder_pids(const Service& service);
/// The same with what each of them is.
control::Json holders_of(const Service& service);

}  // namespace drover::herd
