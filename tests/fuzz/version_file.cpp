// The version files of a project; the first byte says which one the input is.
#include "lib/environ/version_file.h"

#include <array>

#include "lib/environ/version.h"
#include "lib/os/error.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace drover::environ;
  constexpr std::array kNames = {"/.ruby-version",  "/.tool-versions", "/mise.toml",
                                 "/.versions.conf", "/Gemfile",        "/.nvmrc"};
  if (size == 0) return 0;
  const std::string path = drover::fuzz::folder() + kNames[data[0] % kNames.size()];
  drover::fuzz::write_file(path, drover::fuzz::text_of(data + 1, size - 1));
  for (const Language language : {Language::ruby, Language::node}) {
    try {
      const auto wanted = find_version_file(language, drover::fuzz::folder());
      for (const auto& version : wanted ? wanted->versions : std::vector<std::string>())
        if (!is_version_name(version) && !version.starts_with("lts/")) std::abort();
    } catch (const drover::Error&) {
    }
  }
  ::unlink(path.c_str());
  return 0;
}
