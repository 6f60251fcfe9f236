#include "examples/prefork/request.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace drover::prefork {
namespace {

constexpr int kBadRequest = 400;
constexpr int kTooLarge = 413;
constexpr int kNotImplemented = 501;
constexpr int kVersionNotSupported = 505;

/// A character of a method or of a header's name.
bool is_token(char c) {
  const auto byte = static_cast<unsigned char>(c);
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= 'a' && byte <= 'z') || kOthers.find(c) != std::string_view::npos;
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t') || byte == 0x7F;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<size_t> parse_size(std::string_view text) {
  size_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (text.empty() || end != text.data() + text.size() || error == std::errc::invalid_argument)
    return std::nullopt;
  return error == std::errc{} ? size : SIZE_MAX;
}

/// Takes the first line off `text`.
std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find("\r\n"), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 2, text.size()));
  if (std::any_of(line.begin(), line.end(), is_control)) throw Refused{kBadRequest};
  return line;
}

/// "/path?query" of "http://host/path?query": a proxy is asked like that, and every server has to
/// understand it (RFC 9112, 3.2.2).
std::string origin_form(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (lower(target.substr(0, kScheme.size())) != kScheme) return std::string(target);
  target.remove_prefix(kScheme.size());
  const size_t end = std::min(target.find_first_of("/?"), target.size());
  if (end == 0) throw Refused{kBadRequest};
  target.remove_prefix(end);
  return fmt::format("{}{}", target.starts_with('/') ? "" : "/", target);
}

/// "GET /path?query HTTP/1.1". Returns the minor version.
int parse_request_line(std::string_view line, Request& request) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) throw Refused{kBadRequest};
  const std::string_view method = line.substr(0, first);
  const std::string target = origin_form(line.substr(first + 1, last - first - 1));
  const std::string_view version = line.substr(last + 1);
  if (method.empty() || !std::all_of(method.begin(), method.end(), is_token) ||
      !target.starts_with('/') || target.find_first_of(" \t") != std::string::npos ||
      !version.starts_with("HTTP/"))
    throw Refused{kBadRequest};
  if (version != "HTTP/1.1" && version != "HTTP/1.0") throw Refused{kVersionNotSupported};

  const size_t question = std::min(target.find('?'), target.size());
  request.method = method;
  request.path = target.substr(0, question);
  request.query = target.substr(std::min(question + 1, target.size()));
  return version.back() - '0';
}

/// The headers that change how a request is read; all others are only checked for their form.
struct Headers {
  int hosts = 0;
  std::optional<size_t> length;
  bool encoded = false;
  bool close = false;
  bool keep_alive = false;
  bool expects_continue = false;
};

void parse_connection(std::string_view value, Headers& headers) {
  const std::string options = lower(value);
  std::string_view rest = options;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view option = trim(rest.substr(0, comma));
    headers.close |= option == "close";
    headers.keep_alive |= option == "keep-alive";
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
}

void parse_header(std::string_view line, Headers& headers) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) throw Refused{kBadRequest};
  if (!std::all_of(line.begin(), line.begin() + static_cast<ptrdiff_t>(colon), is_token))
    throw Refused{kBadRequest};
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trim(line.substr(colon + 1));
  if (name == "host") {
    ++headers.hosts;
  } else if (name == "content-length") {
    const auto length = parse_size(value);
    // Two lengths, and two servers in a row may disagree about where the next request begins.
    if (!length || headers.length) throw Refused{kBadRequest};
    headers.length = length;
  } else if (name == "transfer-encoding") {
    headers.encoded = true;
  } else if (name == "connection") {
    parse_connection(value, headers);
  } else if (name == "expect") {
    headers.expects_continue = lower(value) == "100-continue";
  }
}

}  // namespace

Request parse_head(std::string_view head) {
  Request request;
  const int minor = parse_request_line(take_line(head), request);
  Headers headers;
  while (!head.empty())
    parse_header(take_line(head), headers);

  if (headers.hosts > 1 || (minor == 1 && headers.hosts == 0)) throw Refused{kBadRequest};
  if (headers.encoded) throw Refused{headers.length ? kBadRequest : kNotImplemented};
  request.body_size = headers.length.value_or(0);
  if (request.body_size > kLongestBody) throw Refused{kTooLarge};
  request.keep_alive = !headers.close && (minor == 1 || headers.keep_alive);
  request.wants_continue = headers.expects_continue && minor == 1;
  return request;
}

size_t query_number(const Request& request, std::string_view name, size_t limit) {
  std::string_view rest = request.query;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const size_t equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == name && equals < pair.size())
      return std::min(parse_size(pair.substr(equals + 1)).value_or(0), limit);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return 0;
}

}  // namespace drover::prefork
