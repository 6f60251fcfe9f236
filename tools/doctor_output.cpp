#include "tools/doctor_output.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "lib/cli/message.h"

namespace drover::doctor {
namespace {

using Json = nlohmann::ordered_json;
using herd::Check;

const char* word_of(Check::Verdict verdict) {
  switch (verdict) {
    case Check::Verdict::ok:
      return "ok";
    case Check::Verdict::finding:
      return "finding";
    case Check::Verdict::skipped:
      return "skipped";
  }
  return "?";
}

bool is_wanted(const Check& check, bool findings_only) {
  return !findings_only || check.verdict == Check::Verdict::finding;
}

}  // namespace

std::string as_text(const herd::CheckupReport& report, bool findings_only) {
  std::string text;
  for (const Check& check : report.checks) {
    if (!is_wanted(check, findings_only)) continue;
    text += fmt::format("{}: {}\n", word_of(check.verdict), cli::printable(check.text));
    for (const std::string& line : check.output)
      text += fmt::format("  wrote: {}\n", cli::printable(line));
    for (const std::string& cure : check.cures)
      text += fmt::format("  cure: {}\n", cli::printable(cure));
  }
  return text;
}

std::string as_json(const herd::CheckupReport& report, const herd::CheckupRequest& request,
                    bool findings_only) {
  Json checks = Json::array();
  for (const Check& check : report.checks)
    if (is_wanted(check, findings_only))
      checks.push_back({{"check", check.name},
                        {"verdict", word_of(check.verdict)},
                        {"text", check.text},
                        {"cures", check.cures},
                        {"output", check.output}});
  const Json object = {{"v", 1},
                       {"server", report.server},
                       {"command", request.command},
                       {"pidfile", request.pidfile},
                       {"clean", !report.has_findings()},
                       {"checks", std::move(checks)}};
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace drover::doctor
