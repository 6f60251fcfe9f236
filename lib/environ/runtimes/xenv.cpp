#include "lib/environ/runtimes/xenv.h"

#include <fmt/core.h>

namespace drover::environ::xenv {

std::vector<std::string> roots(const Places& places, const Kind& kind) {
  return roots_from(places, fmt::format("{}ROOT", kind.variable).c_str(),
                    {fmt::format("{}/.{}", places.home, kind.name)});
}

std::string versions(const std::string& root) { return root + "/versions"; }

void undo(Edit& edit, const Places& places, const Kind& kind) {
  const auto folders = roots(places, kind);
  edit.drop_parts("PATH", folders,
                  {"versions/*/bin", "versions/*/gemsets/*/bin", "versions/*/envs/*/bin",
                   "plugins/*/bin", "libexec"});
  const std::string name = kind.name;
  edit.drop_parts("PATH", {"/usr/lib", "/usr/libexec", "/usr/local/lib"},
                  {(name + "/libexec").c_str()});
  const std::string cellar = fmt::format("/Cellar/{}/", name);
  edit.drop_parts("PATH", [&](const std::string& part) {
    return part.find(cellar) != std::string::npos && normal_path(part).ends_with("/libexec");
  });
  for (const char* suffix : {"VERSION", "DIR", "HOOK_PATH", "ORIG_PATH", "SHELL"})
    edit.unset(std::string_view(kind.variable + std::string(suffix)));
  const std::string root = std::string(kind.variable) + "ROOT";
  const std::string usual = fmt::format("{}/.{}", places.home, kind.name);
  if (normal_path(edit.block().value(root)) == usual) edit.unset(std::string_view(root));
}

}  // namespace drover::environ::xenv
