#include "tools/exec_hooks.h"

namespace drover::exec {

std::string hook_for(const std::string& server) {
  if (server == "unicorn")
    return R"(# unicorn executes this at USR2. A wrapper that loads unicorn itself (bundle = "setup") is
# remembered without it.
Unicorn::HttpServer::START_CTX[0] = ENV["DROVER_WRAPPER"] if ENV["DROVER_WRAPPER"]
)";
  if (server == "puma")
    return R"(# puma executes this at USR2. Paths with blanks cannot be given here.
restart_command ENV["DROVER_WRAPPER"] if ENV["DROVER_WRAPPER"]
)";
  if (server == "gunicorn")
    return R"(# gunicorn executes this at USR2.
def pre_exec(server):
    import os
    import sys

    wrapper = os.environ.get("DROVER_WRAPPER")
    if wrapper:
        server.START_CTX[0] = wrapper
        server.START_CTX["args"] = [wrapper] + sys.argv[1:]
)";
  return {};
}

}  // namespace drover::exec
