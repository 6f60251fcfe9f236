// A whole environment, as /proc/PID/environ has it: the reset ends, and once is enough.
#include "lib/environ/record.h"
#include "lib/environ/reset.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace drover::environ;
  Block block = Block::from_proc(drover::fuzz::text_of(data, size));
  const Block inherited = block;
  const Places places{"/home/app", "/srv/app/current", inherited};
  Steps steps;
  Edit edit(block, steps);
  reset(edit, places);
  const Block once = block;
  reset(edit, places);
  if (block.variables() != once.variables()) std::abort();

  // What drover-exec adds is what its record takes back.
  Block changed = once;
  changed.set("FUZZ_NEW", "1");
  for (const auto& [name, value] : inherited.variables())
    if (name.size() % 3 == 0 && name != "PATH") changed.set(name, value);
  std::vector<std::string> lost;
  const std::string record = make_record(once, changed, lost);
  if (!record.empty() && lost.empty()) {
    changed.set(kRecordName, record);
    Edit undo(changed, steps);
    revert_record(undo);
    for (const auto& [name, value] : once.variables())
      if (!name.starts_with("DROVER_") && name != "PWD" && name != "OLDPWD" && name != "PATH" &&
          changed.value(name) != value)
        std::abort();
  }
  return 0;
}
