#include "tools/herd_companions.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lib/cli/message.h"
#include "lib/companions/crew.h"
#include "lib/companions/request.h"
#include "lib/os/fd.h"

namespace drover {
namespace {

using companions::Crew;
using control::Json;
using control::Reply;
using control::Request;

class Companions : public herd::Company {
 public:
  Companions(asio::io_context& io, const std::string& file, const std::string& socket,
             std::function<void(const std::string&)> happened)
      : crew_(io, file, os::split_path(socket).first,
              {[](const std::string& text) { cli::say(cli::Level::detail, text); },
               [](const std::string& text) { cli::say(cli::Level::notice, text); },
               [](const std::string& text) { cli::say(cli::Level::warning, text); }},
              {std::move(happened), [this] { ended_ = true; }}) {
    crew_.desk().set_sockets(socket, socket);
  }

  void begin() override { crew_.begin(); }
  void server_reloaded() override { crew_.manager().server_reloaded(); }
  void reopen_logs() override { crew_.reopen_logs(); }
  void stop() override { crew_.stop(); }
  [[nodiscard]] bool ended() const override { return ended_; }

  void reaped(pid_t pid, os::ExitStatus status) override { crew_.reaped(pid, status); }
  [[nodiscard]] bool has(pid_t child) const override {
    const auto& all = crew_.manager().companions();
    return std::any_of(all.begin(), all.end(), [child](const auto& companion) {
      return companion->pid() == child || companion->group() == child;
    });
  }

  [[nodiscard]] control::Limits limits() const override { return companions::request_limits(); }
  [[nodiscard]] control::Dialect dialect() const override {
    return {companions::parse_request, companions::refusal};
  }

  /// The original's clients know nothing of a server: all that they say is about companions.
  [[nodiscard]] bool takes(const Request& request) const override {
    constexpr std::array kOwn = {"start", "restart", "reread", "why", "reopen", "release", "hello"};
    return !companions::is_in_own_form(request) || companions::has_name(request) ||
           std::find(kOwn.begin(), kOwn.end(), request.command) != kOwn.end();
  }

  asio::awaitable<void> answer(Request request, Reply& reply) override {
    if (request.command == "shutdown")
      throw control::Refused("failed", "they end with the server: stop the herd");
    return crew_.desk().handle(std::move(request), reply);
  }

  [[nodiscard]] Json status() const override { return crew_.desk().entries(); }

 private:
  Crew crew_;
  bool ended_ = false;
};

}  // namespace

herd::MakeCompany company_of(const std::string& file, const std::string& socket) {
  return [file, socket](asio::io_context& io, std::function<void(const std::string&)> happened) {
    return std::make_unique<Companions>(io, file, socket, std::move(happened));
  };
}

}  // namespace drover
