// The rooms of lib/ use only those below them, and keep out of what is the programs' business.
#include <map>
#include <regex>
#include <set>

#include "tests/unit/catch.h"
#include "tests/unit/support.h"

namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>> kMayUse = {
    {"os", {"os"}},
    {"flock", {"os", "flock"}},
    {"config", {"os", "config"}},
    {"environ", {"os", "config", "environ"}},
    {"control", {"os", "control"}},
    {"herd", {"os", "flock", "control", "herd"}},
    {"companions", {"os", "config", "flock", "control", "companions"}},
    {"cli", {"os", "config", "cli"}},
};

std::vector<std::smatch> all_matches(const std::string& text, const std::regex& pattern) {
  return {std::sregex_iterator(text.begin(), text.end(), pattern), std::sregex_iterator()};
}

template <class Visit>
void for_each_source(const Visit& visit) {
  const fs::path lib = fs::path(DROVER_SOURCE_DIR) / "lib";
  for (const auto& entry : fs::recursive_directory_iterator(lib)) {
    const auto extension = entry.path().extension();
    if (extension != ".h" && extension != ".cpp") continue;
    const std::string room = fs::relative(entry.path(), lib).begin()->string();
    visit(room, entry.path().string(), drover::test::read_file(entry.path().string()));
  }
}

}  // namespace

TEST_CASE("a room includes only the rooms below it") {
  const std::regex include(R"re(#include "lib/(\w+)/)re");
  size_t seen = 0;
  for_each_source([&](const std::string& room, const std::string& path, const std::string& text) {
    INFO(path);
    REQUIRE(kMayUse.contains(room));
    for (const auto& match : all_matches(text, include)) {
      ++seen;
      CHECK(kMayUse.at(room).contains(match[1].str()));
    }
  });
  CHECK(seen > 50);
}

TEST_CASE("the library neither prints, nor exits, nor reads the environment") {
  const std::regex forbidden(
      R"(fmt::print|std::cout|std::cerr|\bf?(printf|puts)\(|\babort\(|\b_?[eE]xit\(|::(secure_)?getenv)");
  for_each_source([&](const std::string& room, const std::string& path, const std::string& text) {
    if (room == "cli") return;
    INFO(path);
    for (const auto& match : all_matches(text, forbidden))
      // A child between fork and exec has no other way out.
      CHECK(
          (match.str() == "_exit(" &&
           (path.ends_with("os/spawn.cpp") || path.ends_with("environ/capture.cpp") ||
            path.ends_with("companions/launch.cpp") || path.ends_with("herd/output_process.cpp"))));
  });
}
