#include "lib/herd/probe.h"

#include <fmt/core.h>
#include <sys/socket.h>

#include <algorithm>
#include <asio/buffer.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <cerrno>
#include <charconv>
#include <memory>
#include <optional>
#include <system_error>

#include "lib/herd/shell_command.h"
#include "lib/os/error.h"
#include "lib/os/timer.h"

namespace drover::herd {
namespace {

using Clock = std::chrono::steady_clock;
using Socket = asio::generic::stream_protocol::socket;
using Endpoint = asio::generic::stream_protocol::endpoint;

constexpr size_t kMostOfHeader = 8192;
constexpr std::string_view kHeaderEnd = "\r\n\r\n";

std::string reason_of(int err) {
  if (err == EAGAIN) return "its queue of connections is full";
  std::string text = std::generic_category().message(err);
  if (text.size() > 1 && text[1] >= 'a') text[0] = static_cast<char>(text[0] | 0x20);
  return text;
}

std::string no_answer_in(Clock::duration time) {
  const auto ms = std::chrono::round<std::chrono::milliseconds>(time).count();
  return ms % 1000 == 0 ? fmt::format("no answer in {} s", ms / 1000)
                        : fmt::format("no answer in {} ms", ms);
}

/// A socket that is closed at the deadline: whatever waits for it then ends with an error.
class Link {
 public:
  Link(asio::io_context& io, Clock::time_point deadline)
      : state_(std::make_shared<State>(io, deadline)) {
    state_->limit->async_wait([state = state_](asio::error_code error) {
      if (error) return;
      state->expired = true;
      state->close();
    });
  }
  ~Link() {
    state_->limit.reset();
    state_->close();
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  Socket& socket() noexcept { return state_->socket; }
  [[nodiscard]] bool expired() const noexcept { return state_->expired; }

 private:
  struct State {  // the timer's handler may come when the Link is gone
    State(asio::io_context& io, Clock::time_point deadline) : socket(io) {
      limit.emplace(io).expires_at(deadline);
    }
    void close() {
      asio::error_code ignored;
      socket.close(ignored);
    }
    Socket socket;
    std::optional<os::Timer> limit;
    bool expired = false;
  };
  std::shared_ptr<State> state_;
};

/// An errno value; 0 when it is connected. Asio's own connect takes the EAGAIN of a UNIX socket
/// whose queue is full for a beginning, and then for a success.
asio::awaitable<int> connect_to(Link& link, const Endpoint& endpoint) {
  Socket& socket = link.socket();
  if (socket.is_open()) socket.close();
  asio::error_code error;
  socket.open(endpoint.protocol(), error);
  if (!error) socket.native_non_blocking(true, error);
  if (error) co_return error.value();
  if (::connect(socket.native_handle(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) ==
      0)
    co_return 0;
  if (errno != EINPROGRESS) co_return errno;
  co_await socket.async_wait(Socket::wait_write, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return error.value();
  int result = 0;
  socklen_t size = sizeof result;
  if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &result, &size) != 0)
    co_return errno;
  co_return result;
}

enum class Judged { passed, failed, preliminary };

/// Takes the header off an answer that has all of it.
Judged judge_header(std::string& answer, std::string& reason) {
  const std::string_view line = std::string_view(answer).substr(0, answer.find('\r'));
  int status = 0;
  // "HTTP/1.1 200 OK"; RFC 9112, section 4.
  const bool http = line.size() >= 12 && line.starts_with("HTTP/1.") && line[8] == ' ';
  if (http) std::from_chars(line.data() + 9, line.data() + 12, status);
  answer.erase(0, answer.find(kHeaderEnd) + kHeaderEnd.size());
  if (status >= 100 && status < 200 && status != 101) return Judged::preliminary;
  if (status >= 200 && status < 400) return Judged::passed;
  reason = status == 0 ? "what answers does not speak HTTP" : fmt::format("HTTP status {}", status);
  return Judged::failed;
}

/// Reads an answer's header and says what is wrong with it.
asio::awaitable<std::string> read_answer(Link& link) {
  std::string answer;
  std::string reason;
  // Not an array: of a coroutine with a large frame GCC 12 says that new and delete do not match.
  std::string chunk(2048, '\0');
  for (size_t seen = 0; seen < kMostOfHeader;) {
    const size_t room = std::min(chunk.size(), kMostOfHeader - seen);
    asio::error_code error;
    const size_t size = co_await link.socket().async_read_some(
        asio::buffer(chunk.data(), room), asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::eof) co_return "the connection was closed without an answer";
    if (error) co_return reason_of(error.value());
    seen += size;
    answer.append(chunk.data(), size);
    while (answer.find(kHeaderEnd) != std::string::npos)
      if (judge_header(answer, reason) != Judged::preliminary) co_return reason;
  }
  co_return fmt::format("its header has more than {} bytes", kMostOfHeader);
}

asio::awaitable<std::string> ask(Link& link, const std::string& request) {
  asio::error_code error;
  co_await asio::async_write(link.socket(), asio::buffer(request),
                             asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return reason_of(error.value());
  co_return co_await read_answer(link);
}

asio::awaitable<std::string> try_socket(asio::io_context& io, const Probe& probe,
                                        Clock::time_point deadline) {
  const auto begun = Clock::now();
  Link link(io, deadline);
  std::string reason;
  for (const Endpoint& endpoint : probe.endpoints) {
    const int err = co_await connect_to(link, endpoint);
    if (err == EMFILE || err == ENFILE) throw Error(err, "try the probe", probe.text);
    // "localhost" is what its first address says: the second may not even exist.
    if (err != 0 && reason.empty()) reason = reason_of(err);
    if (err == 0) {
      reason.clear();
      if (!probe.request.empty()) reason = co_await ask(link, probe.request);
    }
    if (link.expired()) co_return no_answer_in(deadline - begun);
    if (err == 0) break;
  }
  co_return reason;
}

asio::awaitable<std::string> try_command(asio::io_context& io, const Probe& probe,
                                         Clock::time_point deadline,
                                         ProbeSurroundings surroundings) {
  const auto begun = Clock::now();
  const CommandResult result = co_await run_command(io, surroundings.children, probe.command,
                                                    std::move(surroundings.environment), deadline);
  if (result.passed()) co_return "";
  std::string reason = result.status ? result.status->describe() : no_answer_in(deadline - begun);
  const std::string line = result.last_line();
  co_return line.empty() ? reason : fmt::format("{}: {}", reason, line);
}

}  // namespace

asio::awaitable<std::string> try_probe(asio::io_context& io, Probe probe,
                                       Clock::time_point deadline, ProbeSurroundings surroundings) {
  if (probe.kind == Probe::Kind::command)
    co_return co_await try_command(io, probe, deadline, std::move(surroundings));
  co_return co_await try_socket(io, probe, deadline);
}

}  // namespace drover::herd
