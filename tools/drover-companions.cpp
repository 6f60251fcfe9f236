// drover-companions: run the background processes beside a server, each at most once.
#include "lib/cli/message.h"
#include "lib/cli/program.h"
#include "lib/companions/run.h"

namespace drover {
namespace {

const cli::Description kDescription{
    .name = "drover-companions",
    .synopsis = "--config FILE [--control SOCKET]",
    .summary =
        "Run the background processes beside a server; stay in the foreground.\n"
        "A singleton waits until the last process of its predecessor is gone,\n"
        "in any other manager, too.",
    .examples = {"drover-companions --config /etc/app/companions.toml",
                 "drover-ctl -s /run/app/companions.sock status",
                 "drover-ctl -s /run/app/companions.sock why scheduler"},
};

int run(int argc, char** argv) {
  companions::RunRequest request;
  cli::Options options(kDescription);
  auto& app = options.app();
  app.add_option("-c,--config", request.config, "What is to run: drover-companions(5)")
      ->type_name("FILE")
      ->required()
      ->check(cli::not_empty());
  app.add_option("--control", request.control, "The control socket (RUN_DIR/companions.sock)")
      ->type_name("SOCKET")
      ->check(cli::not_empty());
  if (!options.parse(argc, argv)) return cli::kDone;
  const auto voice = [](cli::Level level) {
    return [level](const std::string& text) { cli::say(level, text); };
  };
  companions::run(request, {.detail = voice(cli::Level::detail),
                            .notice = voice(cli::Level::notice),
                            .warning = voice(cli::Level::warning)});
  return cli::kDone;
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) {
  drover::cli::run_main(drover::kDescription, [&] { return drover::run(argc, argv); });
}
