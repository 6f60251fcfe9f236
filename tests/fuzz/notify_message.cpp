// What a server says over the NOTIFY_SOCKET that drover-herd gives it.
#include "lib/control/notify_socket.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace drover::control;
  const std::string_view text = drover::fuzz::text_of(data, size);
  const auto fields = parse_notify(text);
  if (!fields) return 0;
  if (fields->empty()) std::abort();
  for (const auto& [name, value] : *fields) {
    // An assignment is a line of the message, as it stands there.
    const std::string line = name + "=" + value;
    const size_t at = text.find(line);
    if (name.empty() || line.find('\n') != std::string::npos || at == std::string_view::npos)
      std::abort();
    if (!NotifyMessage{.fields = *fields}.says(name, value)) std::abort();
  }
  return 0;
}
