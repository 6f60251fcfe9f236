// What a program says to people: lines on standard error, "tool: text". Standard output is for
// results only.
#pragma once

#include <string>
#include <string_view>

namespace drover::cli {

enum class Level { error, warning, notice, detail };

/// Which lines are written: -q leaves errors and warnings, -v adds details.
enum class Verbosity { quiet, normal, verbose };

/// The program's name, the one global of a drover program.
void set_program(std::string_view name);
const std::string& program();
void set_verbosity(Verbosity verbosity);
Verbosity verbosity();

/// Writes "tool: text" in one write(2), newlines in the text made visible. When standard error is
/// the journal ($JOURNAL_STREAM names it; sd-daemon(3)), the line carries its "<N>" priority.
/// A standard error that is closed or full is not an error, and never blocks for good: what nobody
/// reads is dropped, notices and details at once, errors and warnings after a second.
void say(Level level, std::string_view text);

/// On one line and without control characters, U+0080 to U+009F included: a terminal would obey
/// them.
std::string printable(std::string_view text);

/// The form of a line: exposed for tests.
std::string compose_line(Level level, std::string_view text, bool to_journal);

}  // namespace drover::cli
