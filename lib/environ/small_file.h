// Small files from others: version files, aliases, env files. Never a FIFO that blocks, never more
// than a limit, never a device.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace drover::environ {

/// The whole file. Empty when it does not exist, is not regular, cannot be read or is longer than
/// `limit`; errno says which (EFBIG, EINVAL for another kind).
std::optional<std::string> read_small_file(const std::string& path, size_t limit);

/// The rest of an open file. Empty when it cannot be read or is longer than `limit` (EFBIG).
std::optional<std::string> read_rest(int fd, size_t limit);

/// Whether a path leads to something, through links too. When not, errno says why.
bool exists(const std::string& path) noexcept;

/// The names in a folder but for hidden ones, sorted. Empty when there is no such folder, or none
/// that this user may list. Throws Error when it cannot be read otherwise: what is installed there
/// would be taken for missing.
std::vector<std::string> names_in(const std::string& folder);

/// The first word of a text: up to a blank, a newline or a carriage return, without a byte order
/// mark. Empty when there is none.
std::string_view first_word(std::string_view text);

/// The next line of `text`, without its newline and carriage return; moves `text` behind it. Empty
/// optional at the end.
std::optional<std::string_view> next_line(std::string_view& text);
/// Without blanks at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace drover::environ
