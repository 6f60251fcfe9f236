// A line that a client of a control socket sent.
#include "lib/control/protocol.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace drover::control;
  try {
    const Request request = parse_request(drover::fuzz::text_of(data, size));
    if (request.command.empty()) std::abort();
    // What was understood is said again in the same words.
    const std::string line = as_line(request.members);
    if (line.find('\n') + 1 != line.size()) std::abort();
    const std::string_view whole(line.data(), line.size() - 1);
    if (as_line(parse_object(whole, kAnswerBounds)) != line) std::abort();
    (void)request.text("name");
    (void)request.number("since");
    (void)request.flag("json");
  } catch (const Refused&) {
  }
  return 0;
}
