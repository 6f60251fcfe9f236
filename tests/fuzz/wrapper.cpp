// A wrapper's text.
#include "lib/environ/wrapper_file.h"
#include "lib/os/error.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(drover::fuzz::text_of(data, size));
  try {
    const auto wrapper = drover::environ::parse_wrapper(text, "/srv/app/current/bin/unicorn");
    if (!wrapper.app.starts_with('/')) std::abort();
    if (!wrapper.lock.empty() && !wrapper.lock.starts_with('/')) std::abort();
  } catch (const drover::Error&) {
  }
  return 0;
}
