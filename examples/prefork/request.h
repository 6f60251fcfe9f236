// The head of an HTTP/1.x request, read strictly (RFC 9112): what is ambiguous is refused.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace drover::prefork {

constexpr size_t kLongestHead = 8192;
constexpr size_t kLongestBody = 1 << 20;

struct Request {
  std::string method;
  std::string path;
  std::string query;            ///< what follows the '?'
  bool keep_alive = false;      ///< what the client would like
  size_t body_size = 0;         ///< Content-Length
  bool wants_continue = false;  ///< sends its body only after "100 Continue"
};

/// Thrown for a request that gets no answer but a status: 400, 408, 413, 431, 501, 505.
struct Refused {
  int status;
};

/// `head` is everything up to, and without, the empty line. Throws Refused.
Request parse_head(std::string_view head);

/// The number that `name` has in a query such as "ms=250&kb=4", at most `limit`; 0 when it has
/// none.
size_t query_number(const Request& request, std::string_view name, size_t limit);

}  // namespace drover::prefork
