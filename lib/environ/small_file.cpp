#include "lib/environ/small_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::environ {
namespace {

constexpr std::string_view kBlank = " \t\r\n\v\f";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

std::optional<std::string> read_small_file(const std::string& path, size_t limit) {
  const os::Fd file = os::try_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  struct stat st {};
  if (!file || ::fstat(file.get(), &st) != 0) return std::nullopt;
  if (!S_ISREG(st.st_mode)) {
    errno = EINVAL;
    return std::nullopt;
  }
  return read_rest(file.get(), limit);
}

std::optional<std::string> read_rest(int fd, size_t limit) {
  std::string text;
  std::array<char, 4096> chunk;
  for (;;) {
    const ssize_t size = ::read(fd, chunk.data(), chunk.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return std::nullopt;
    if (size == 0) return text;
    text.append(chunk.data(), static_cast<size_t>(size));
    if (text.size() > limit) {
      errno = EFBIG;
      return std::nullopt;
    }
  }
}

bool exists(const std::string& path) noexcept { return ::access(path.c_str(), F_OK) == 0; }

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), ::closedir);
  if (!dir && (errno == ENOENT || errno == ENOTDIR || errno == EACCES)) return names;
  if (!dir) throw Error(errno, "list", folder);
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get()))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  if (errno != 0) throw Error(errno, "list", folder);
  std::sort(names.begin(), names.end());
  return names;
}

std::string_view first_word(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  const auto begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin);
  return text.substr(0, text.find_first_of(kBlank));
}

std::optional<std::string_view> next_line(std::string_view& text) {
  if (text.empty()) return std::nullopt;
  const size_t end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

}  // namespace drover::environ
