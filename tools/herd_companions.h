// drover-herd --companions: the companions of a file as the herd's company.
#pragma once

#include <string>

#include "lib/herd/company.h"

namespace drover {

/// `socket` is the herd's control socket; its folder is the run_dir of a file that names none.
herd::MakeCompany company_of(const std::string& file, const std::string& socket);

}  // namespace drover
