#include "lib/os/memory.h"

#include <malloc.h>

namespace drover::os {

void release_free_memory() noexcept { ::malloc_trim(0); }

}  // namespace drover::os
