// An environment file of rvm: it sets rvm's own variables, or none.
#include <sys/stat.h>

#include "lib/environ/resolve.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace drover::environ;
  const std::string root = drover::fuzz::folder();
  ::mkdir((root + "/environments").c_str(), 0700);
  drover::fuzz::write_file(root + "/environments/ruby-3.1.2", drover::fuzz::text_of(data, size));
  Block block;
  Steps steps;
  Edit edit(block, steps);
  Choice choice;
  choice.kind = Choice::Kind::installed;
  choice.runtime = find_runtime("rvm");
  choice.installation = {Language::ruby, "ruby-3.1.2", root + "/rubies/ruby-3.1.2", root, {}};
  enter(edit, choice);
  if (block.has("LD_PRELOAD") || block.has("RUBYOPT") || !block.has("PATH")) std::abort();
  return 0;
}
