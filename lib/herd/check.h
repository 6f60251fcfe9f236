// One line of what drover-doctor has to say about a server.
#pragma once

#include <string>
#include <vector>

namespace drover::herd {

struct Check {
  enum class Verdict {
    ok,
    finding,  ///< something to cure
    skipped,  ///< it could not be tried; the text says why
  };

  std::string name;  ///< stable, for programs: "lock-low", "reload"
  Verdict verdict = Verdict::ok;
  std::string text;
  std::vector<std::string> cures = {};   ///< lines to copy, or what to do; any one of them helps
  std::vector<std::string> output = {};  ///< the last lines that the server wrote
};

}  // namespace drover::herd
