// The word behind --probe.
#include "lib/herd/probe.h"

#include "lib/os/error.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace drover;
  using Kind = herd::Probe::Kind;
  const std::string_view text = fuzz::text_of(data, size);
  try {
    const herd::Probe probe = herd::parse_probe(text);
    if (probe.text != text) std::abort();
    if (probe.kind == Kind::command ? probe.command.empty() : probe.endpoints.empty()) std::abort();
    // One request: nothing of the path may begin a second one, or another header.
    if (probe.kind == Kind::http && probe.request.find("\r\n\r\n") + 4 != probe.request.size())
      std::abort();
  } catch (const Error&) {
  }
  return 0;
}
