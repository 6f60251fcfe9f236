#include "examples/prefork/answer.h"

#include <fmt/core.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <string_view>
#include <thread>

namespace drover::prefork {
namespace {

constexpr size_t kSlowest = 600'000;
constexpr size_t kBiggest = 65'536;

std::string_view reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

std::string date() {
  const time_t now = ::time(nullptr);
  tm parts{};
  ::gmtime_r(&now, &parts);
  char text[64];
  return {text, ::strftime(text, sizeof text, "%a, %d %b %Y %T GMT", &parts)};
}

std::string who_answers(const Identity& identity) {
  return fmt::format("pid {} ppid {} generation {} worker {}\n", ::getpid(), ::getppid(),
                     identity.generation, identity.worker);
}

}  // namespace

Answer answer(const Request& request, const Identity& identity) {
  if (request.method != "GET" && request.method != "HEAD") return {405, "405 Method Not Allowed\n"};
  if (request.path == "/big")
    return {200, std::string(query_number(request, "kb", kBiggest) * 1024, 'x')};
  if (request.path == "/slow") {
    const size_t ms = query_number(request, "ms", kSlowest);
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  } else if (request.path == "/hang") {
    for (;;)
      ::pause();
  }
  return {200, identity.reply.empty() ? who_answers(identity) : identity.reply + "\n"};
}

std::string compose(const Answer& answer, bool with_body, bool keep_alive) {
  std::string text = fmt::format(
      "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n"
      "{}Connection: {}\r\n\r\n",
      answer.status, reason(answer.status), date(), answer.body.size(),
      answer.status == 405 ? "Allow: GET, HEAD\r\n" : "", keep_alive ? "keep-alive" : "close");
  if (with_body) text += answer.body;
  return text;
}

}  // namespace drover::prefork
