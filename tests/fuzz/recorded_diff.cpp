// What direnv and mise recorded, before it is packed: the input is JSON or MessagePack.
#include "lib/environ/recorded_diff.h"

#include <zlib.h>

#include <vector>

#include "tests/fuzz/input.h"

namespace {

std::string packed(std::string_view text) {
  uLongf size = ::compressBound(text.size());
  std::vector<Bytef> bytes(size);
  ::compress(bytes.data(), &size, reinterpret_cast<const Bytef*>(text.data()), text.size());
  constexpr const char* kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string encoded;
  unsigned bits = 0;
  int count = 0;
  for (size_t at = 0; at < size; ++at) {
    bits = bits << 8 | bytes[at];
    for (count += 8; count >= 6; count -= 6)
      encoded += kLetters[bits >> (count - 6) & 63];
  }
  if (count > 0) encoded += kLetters[bits << (6 - count) & 63];
  return encoded;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace drover::environ;
  const std::string record = packed(drover::fuzz::text_of(data, size));
  for (const char* source : {"DIRENV_DIFF", "__MISE_DIFF"}) {
    Block block;
    block.set("PATH", "/usr/bin:/bin");
    block.set(source, record);
    Steps steps;
    Edit edit(block, steps);
    revert_direnv(edit);
    revert_mise(edit);
    if (block.has("DIRENV_DIFF") || block.has("__MISE_DIFF")) std::abort();
    for (const auto& [name, value] : block.variables())
      if (name.empty() || name.find('\0') != std::string::npos) std::abort();
  }
  return 0;
}
