// look_serving MASTER PID...: what lib/herd/serving.h says of each process, one word a line. MASTER
// 0: by its own sockets alone.
#include <cstdio>
#include <cstdlib>

#include "lib/herd/serving.h"

int main(int count, char** words) {
  for (int at = 2; at < count; ++at) {
    const auto seen = drover::herd::look_whether_serving(std::atoi(words[at]), std::atoi(words[1]));
    std::puts(seen == drover::herd::Serving::yes       ? "yes"
              : seen == drover::herd::Serving::not_yet ? "not_yet"
                                                       : "unknown");
  }
}
