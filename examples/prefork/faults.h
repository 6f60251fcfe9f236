// Faults on demand: a release that is broken in a known way, for those who test what watches over a
// server. An honest server has none; the rest of the program asks at one line each.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace drover::prefork {

enum class Fault {
  slow_boot,              ///< loading the application takes SECONDS
  boot_failure,           ///< loading the application fails
  hang_boot,              ///< loading the application never ends
  worker_failure,         ///< each worker dies before it is up
  hang_worker,            ///< the last worker never comes up
  crash_workers,          ///< each worker dies as soon as it is up
  ignore_quit,            ///< master and workers do nothing on QUIT
  close_descriptors,      ///< re-exec closes 3..1024 but the listeners, as unicorn does
  close_all_descriptors,  ///< re-exec closes everything above 2 but the listeners
  leak_child,             ///< worker[0] leaves a child behind that keeps what it inherited
};

/// The faults of one boot.
class Faults {
 public:
  /// Words of the form NAME[=SECONDS][@GENERATION]: without a generation the fault is there from
  /// the start, with one from that generation on. "reload-failure" is "boot-failure@1". Throws
  /// cli::UsageError for a word that is none.
  Faults(const std::vector<std::string>& words, int generation);

  [[nodiscard]] bool has(Fault fault) const noexcept;
  [[nodiscard]] double seconds(Fault fault) const noexcept;

 private:
  struct Chosen {
    Fault fault;
    double seconds;
  };
  void add(const std::string& word, int generation);

  std::vector<Chosen> chosen_;
};

/// The words of `options`, of a text as $PREFORK_FAULT has it (may be null), and of a file that may
/// be absent: separated by commas or white space.
std::vector<std::string> collect_faults(const std::vector<std::string>& options, const char* text,
                                        const std::string& file);

}  // namespace drover::prefork
