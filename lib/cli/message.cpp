#include "lib/cli/message.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "lib/os/signals.h"

namespace drover::cli {
namespace {

std::string program_name = "drover";
Verbosity chosen = Verbosity::normal;
constexpr int kPatienceMs = 1000;

bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat st {};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &st) != 0) return false;
  return fmt::format("{}:{}", st.st_dev, st.st_ino) == stream;
}

int priority(Level level) {
  switch (level) {
    case Level::error:
      return 3;
    case Level::warning:
      return 4;
    case Level::notice:
      return 5;
    case Level::detail:
      return 6;
  }
  return 6;
}

/// Whether standard error has room for a line. Its own non-blocking mode would be everybody's.
bool takes_more(Level level) {
  pollfd output{STDERR_FILENO, POLLOUT, 0};
  const bool important = level == Level::error || level == Level::warning;
  int count;
  do {
    count = ::poll(&output, 1, important ? kPatienceMs : 0);
  } while (count < 0 && errno == EINTR);
  return count != 0;
}

bool wanted(Level level) {
  if (level == Level::detail) return chosen == Verbosity::verbose;
  if (level == Level::notice) return chosen != Verbosity::quiet;
  return true;
}

}  // namespace

void set_program(std::string_view name) { program_name = name; }
const std::string& program() { return program_name; }
void set_verbosity(Verbosity verbosity) { chosen = verbosity; }
Verbosity verbosity() { return chosen; }

std::string printable(std::string_view text) {
  std::string line;
  for (size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const auto next = static_cast<unsigned char>(at + 1 < text.size() ? text[at + 1] : 0);
    const bool is_c1 = byte == 0xC2 && next >= 0x80 && next < 0xA0;  // U+0080 to U+009F
    if (is_c1) {
      line += fmt::format("\\x{:02x}\\x{:02x}", byte, next);
      ++at;
    } else if (byte < 0x20 || byte == 0x7F) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += text[at];
    }
  }
  return line;
}

std::string compose_line(Level level, std::string_view text, bool to_journal) {
  std::string line = to_journal ? fmt::format("<{}>", priority(level)) : "";
  line += program_name;
  line += ": ";
  line += printable(text);
  line += '\n';
  return line;
}

void say(Level level, std::string_view text) {
  if (!wanted(level)) return;
  const std::string line = compose_line(level, text, stderr_is_journal());
  if (!takes_more(level)) return;
  const sigset_t pipe = os::signal_set({SIGPIPE});
  sigset_t pending;
  sigpending(&pending);
  const os::BlockedSignals blocked(pipe);
  while (::write(STDERR_FILENO, line.data(), line.size()) < 0) {
    if (errno == EINTR) continue;
    const timespec at_once{};
    if (errno == EPIPE && sigismember(&pending, SIGPIPE) == 0)
      ::sigtimedwait(&pipe, nullptr, &at_once);  // ours: nobody reads any more
    break;
  }
}

}  // namespace drover::cli
