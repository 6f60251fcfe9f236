// An env file.
#include "lib/environ/env_file.h"

#include "lib/os/error.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    for (const auto& [name, value, line] :
         drover::environ::parse_env_file(drover::fuzz::text_of(data, size), "f"))
      if (name.empty() || line == 0 || value.find('\0') != std::string::npos) std::abort();
  } catch (const drover::Error&) {
  }
  return 0;
}
