// drover-herd --companions: the companions of a file as the herd's company.
#pragma once

#include <string>

#include "lib/herd/company.h"

namespace drover {

/// `run_dir` is that of a file that names none.
herd::MakeCompany company_of(const std::string& file, const std::string& run_dir);

}  // namespace drover
