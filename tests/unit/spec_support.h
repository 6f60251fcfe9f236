// Configurations of companions for the tests of their reader.
#pragma once

#include <fmt/core.h>

#include <cerrno>

#include "lib/companions/spec.h"
#include "lib/os/error.h"
#include "tests/unit/catch.h"

namespace drover::test {

using Words = std::vector<std::string>;

inline constexpr const char* kFile = "/etc/app/companions.toml";
/// The third line is free.
inline constexpr const char* kJob = "[companion.job]\ncommand = ['run', 'it']\n";

inline companions::Specs specs_of(const std::string& text) {
  return companions::parse_specs(text, kFile, "/run/app");
}

/// A companion with these lines beside its command.
inline companions::Spec job_with(const std::string& lines) {
  return specs_of(kJob + lines).companions.at(0);
}

inline std::string refusal_of(const std::string& text) {
  try {
    specs_of(text);
  } catch (const Error& error) {
    CHECK(error.code().value() == EBADMSG);
    return error.what();
  }
  return "accepted";
}

/// What is said of a file, with its line.
inline std::string at_line(int line, const std::string& why) {
  return fmt::format("cannot use companions '{}:{}': {}", kFile, line, why);
}

/// Whether it names that line, and says these words.
inline bool tells(const std::string& said, int line, const std::string& words) {
  INFO(said);
  const std::string start = at_line(line, "");
  CHECK(said.starts_with(start));
  return said.find(words, start.size()) != std::string::npos;
}

inline std::string refusal_of_job(const std::string& lines) { return refusal_of(kJob + lines); }

inline Words names_of(const std::vector<companions::Spec>& specs) {
  Words names;
  for (const companions::Spec& spec : specs)
    names.push_back(spec.name);
  return names;
}

}  // namespace drover::test
