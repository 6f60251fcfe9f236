// Numbers on a command line.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>

namespace drover {

/// For options whose value is a decimal number: CLI11 would read "075" as octal, "0x4b" as hex.
inline CLI::Validator decimal() {
  return {[](std::string& text) {
            if (text.find_first_not_of("0123456789") != std::string::npos)
              return "it is no decimal number";
            text.erase(0, std::min(text.find_first_not_of('0'), text.size() - 1));
            return "";
          },
          ""};
}

}  // namespace drover
