#include "examples/prefork/title.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace drover::prefork {
namespace {

/// Never freed: getenv(3) may be called until the last moment of the process.
void copy_environment() {
  size_t count = 0;
  while (environ[count] != nullptr)
    ++count;
  char** copy = new char*[count + 1];
  for (size_t i = 0; i < count; ++i)
    copy[i] = ::strdup(environ[i]);
  copy[count] = nullptr;
  environ = copy;
}

}  // namespace

Title::Title(int argc, char** argv) : start_(argv[0]) {
  char* end = start_;
  const auto extend = [&end](char* text) {
    if (text == end) end += std::strlen(text) + 1;
  };
  for (int i = 0; i < argc; ++i)
    extend(argv[i]);
  shown_ = static_cast<size_t>(end - start_);
  // Variables that somebody has set since then live elsewhere.
  for (char** variable = environ; *variable != nullptr; ++variable)
    extend(*variable);
  size_ = static_cast<size_t>(end - start_);
  copy_environment();
}

void Title::set(std::string_view title) noexcept {
  const size_t length = std::min(title.size(), size_ - 1);
  std::memcpy(start_, title.data(), length);
  shown_ = std::max(shown_, length);
  std::memset(start_ + length, '\0', shown_ - length);
}

}  // namespace drover::prefork
