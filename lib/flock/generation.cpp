#include "lib/flock/generation.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "lib/os/error.h"

namespace drover::flock {
namespace {

constexpr std::string_view kWord = "generation ";

/// Unlinks the half-made file unless it reached its place.
class Draft {
 public:
  explicit Draft(std::string path) : path_(std::move(path)) { ::unlink(path_.c_str()); }
  ~Draft() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  void moved() { path_.clear(); }

 private:
  std::string path_;
};

LockFile write_draft(const Draft& draft, mode_t file_mode, unsigned number) {
  LockFile file = LockFile::open_or_create(draft.path(), 0600);
  const os::Fd writer = os::try_open(draft.path(), O_WRONLY | O_NOFOLLOW);
  const std::string text = fmt::format("{}{}\n", kWord, number);
  if (!writer ||
      ::write(writer.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw Error(errno == 0 ? ENOSPC : errno, "write lock file", draft.path());
  if (::fchmod(file.fd(), file_mode) != 0) throw Error(errno, "set the mode of", draft.path());
  return file;
}

/// The new file takes the old one's owner where the caller may give it away, and its mode.
void inherit_owner(const LockFile& old, const LockFile& fresh) {
  const struct stat st = os::stat_of(old.fd(), old.path());
  if (::fchown(fresh.fd(), st.st_uid, st.st_gid) == 0) ::fchmod(fresh.fd(), st.st_mode & 07777);
}

}  // namespace

std::optional<unsigned> generation_of(const LockFile& file) {
  std::array<char, 32> text;
  const ssize_t size = ::pread(file.fd(), text.data(), text.size(), 0);
  if (size < 0) return std::nullopt;
  std::string_view rest(text.data(), static_cast<size_t>(size));
  if (rest.empty()) return 0;
  if (!rest.starts_with(kWord)) return std::nullopt;
  rest.remove_prefix(kWord.size());
  unsigned number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc{} || std::string_view(end, rest.data() + rest.size()) != "\n")
    return std::nullopt;
  return number;
}

Generation begin_generation(const std::string& path, Mode mode, mode_t file_mode,
                            const Patience& patience) {
  for (;;) {
    if (auto first = LockFile::create(path, file_mode)) {
      const Acquired acquired = acquire(*first, mode, patience);
      if (acquired != Acquired::yes) return {acquired, std::nullopt};
      if (!first->at_path()) continue;  // another caller has put its generation there
      return {acquired, std::move(first)};
    }
    auto existing = LockFile::open(path);
    if (!existing) continue;
    LockFile& old = *existing;
    const auto number = generation_of(old);
    if (!number)
      throw Error::because(EBADMSG, "begin a generation at", path, "the file there has content",
                           "a lock file is empty; a generation replaces it by a new file");
    const Acquired acquired = acquire(old, Mode::exclusive, patience);
    if (acquired != Acquired::yes) return {acquired, std::nullopt};
    if (!old.at_path()) continue;  // another caller has replaced it meanwhile

    // Holding `old` exclusively, and finding it at the path, makes us the only one at "PATH.new".
    Draft draft(path + ".new");
    LockFile fresh = write_draft(draft, file_mode, *number + 1);
    inherit_owner(old, fresh);
    if (acquire(fresh, mode, Patience::none()) != Acquired::yes) continue;
    if (std::rename(draft.path().c_str(), path.c_str()) != 0)
      throw Error(errno, "replace lock file", path);
    draft.moved();
    fresh.renamed_to(path);
    return {Acquired::yes, std::move(fresh)};
  }
}

}  // namespace drover::flock
