// How drover-doctor writes what it found.
#pragma once

#include <string>
#include <vector>

#include "lib/herd/checkup.h"

namespace drover::doctor {

/// "ok: ...", "skipped: ...", or "finding: ..." followed by its cures. With `findings_only`, the
/// last.
std::string as_text(const herd::CheckupReport& report, bool findings_only);
/// One object, {"v":1, ...}; bytes that are no UTF-8 become U+FFFD.
std::string as_json(const herd::CheckupReport& report, const herd::CheckupRequest& request,
                    bool findings_only);

}  // namespace drover::doctor
