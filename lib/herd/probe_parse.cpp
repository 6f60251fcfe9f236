#include <fmt/core.h>
#include <sys/un.h>

#include <algorithm>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <cerrno>
#include <charconv>

#include "lib/herd/probe.h"
#include "lib/os/error.h"

namespace drover::herd {
namespace {

constexpr uint16_t kHttpPort = 80;

/// Reads one probe; what is wrong with it is said of the whole.
class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) { probe_.text = text; }

  Probe parse() {
    if (take("tcp:")) {
      tcp();
    } else if (take("unix:")) {
      unix_socket(rest_);
    } else if (take("http://")) {
      http();
    } else if (take("http+unix:")) {
      http_over_unix();
    } else if (take("exec:")) {
      command();
    } else if (take("https://")) {
      fail("TLS is not spoken here", fmt::format("use 'exec:curl -fsS {}'", probe_.text));
    } else {
      fail("it begins with none of tcp:, unix:, http://, http+unix:, exec:");
    }
    return std::move(probe_);
  }

 private:
  [[noreturn]] void fail(std::string_view why, std::string hint = {}) const {
    throw Error::because(EINVAL, "use the probe", probe_.text, why, std::move(hint));
  }

  bool take(std::string_view prefix) {
    if (!rest_.starts_with(prefix)) return false;
    rest_.remove_prefix(prefix.size());
    return true;
  }

  void tcp() {
    if (rest_.find_first_not_of("0123456789") == std::string_view::npos) {
      internet("localhost", port(rest_));
      return;
    }
    const size_t colon = rest_.rfind(':');
    if (colon == std::string_view::npos || colon < rest_.rfind(']') + 1) fail("it has no port");
    internet(rest_.substr(0, colon), port(rest_.substr(colon + 1)));
  }

  void http() {
    const std::string_view authority = rest_.substr(0, rest_.find_first_of("/?#"));
    rest_.remove_prefix(authority.size());
    const size_t colon = authority.rfind(':');
    const bool has_port =
        colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
    internet(authority.substr(0, has_port ? colon : authority.size()),
             has_port ? port(authority.substr(colon + 1)) : kHttpPort);
    get(authority, rest_);
  }

  void http_over_unix() {
    const size_t colon = rest_.find(':');
    unix_socket(rest_.substr(0, colon));
    get("localhost", colon == std::string_view::npos ? "" : rest_.substr(colon + 1));
  }

  void command() {
    if (rest_.find_first_not_of(" \t\n") == std::string_view::npos) fail("it has no command");
    probe_.kind = Probe::Kind::command;
    probe_.command = rest_;
  }

  [[nodiscard]] uint16_t port(std::string_view digits) const {
    uint16_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size() || number == 0)
      fail("the port is none of 1 to 65535");
    return number;
  }

  void internet(std::string_view host, uint16_t number) {
    if (host == "localhost") {
      internet("127.0.0.1", number);
      internet("[::1]", number);
      return;
    }
    const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
    asio::error_code error;
    const auto address = asio::ip::make_address(
        std::string(brackets ? host.substr(1, host.size() - 2) : host), error);
    if (error || address.is_v6() != brackets)
      fail("the host is no IPv4 address, no IPv6 address in brackets, and not localhost",
           "names are not looked up: write the address");
    probe_.endpoints.emplace_back(asio::ip::tcp::endpoint(address, number));
  }

  void unix_socket(std::string_view path) {
    if (path.empty()) fail("it has no path");
    if (path.size() >= sizeof(sockaddr_un::sun_path))
      fail(fmt::format("a socket's path has at most {} bytes", sizeof(sockaddr_un::sun_path) - 1));
    std::string name(path);
    if (name.front() == '@') name.front() = '\0';
    probe_.endpoints.emplace_back(asio::local::stream_protocol::endpoint(name));
  }

  void get(std::string_view host, std::string_view target) {
    probe_.kind = Probe::Kind::http;
    if (!std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < '\x7f'; }) ||
        target.find('#') != std::string_view::npos)
      fail("the path has characters that must be written as %XX");
    if (!target.empty() && target.front() != '/' && target.front() != '?')
      fail("the path does not begin with '/'");
    probe_.request = fmt::format(
        "GET {}{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: drover\r\nAccept: */*\r\n"
        "Connection: close\r\n\r\n",
        target.starts_with('/') ? "" : "/", target, host);
  }

  std::string_view rest_;
  Probe probe_;
};

}  // namespace

Probe parse_probe(std::string_view text) { return Parser(text).parse(); }

}  // namespace drover::herd
