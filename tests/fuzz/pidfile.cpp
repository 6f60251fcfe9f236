// What a pidfile holds: whoever can write it chooses whom a signal might reach.
#include "lib/flock/pidfile.h"

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = drover::fuzz::text_of(data, size);
  const std::string path = drover::fuzz::folder() + "/pid";
  drover::fuzz::write_file(path, text);
  const auto [pid, problem] = drover::flock::read_pidfile(path);
  if (pid.has_value() == !problem.empty()) std::abort();
  // Nobody, every process, this process's group and all that a minus names are out of reach.
  if (pid && *pid < 1) std::abort();
  if (pid && text.find(std::to_string(*pid)) == std::string_view::npos) std::abort();
  if (pid && drover::flock::parse_pid(text) != pid) std::abort();
  return 0;
}
