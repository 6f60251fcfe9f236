// When a job is due, written as in a crontab.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

namespace drover::companions {

/// Five fields, "MINUTE HOUR DAY MONTH WEEKDAY", read as crontab(5) and cron of Debian do, or
/// @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually. When neither DAY nor WEEKDAY
/// starts with '*' either of them suffices; otherwise both have to fit, so that "0 0 */2 * mon" is
/// Mondays with an odd date. Stricter than cron: steps beyond the field and what never comes
/// ("0 0 30 2 *") are refused.
///
/// Times are local, as localtime_r(3) has them: TZ as it was at the last tzset(3). When the clock
/// is put forward or back by less than three hours, a job at fixed times (neither MINUTE nor HOUR
/// starts with '*') that would have been skipped is due once, at the first moment behind the gap;
/// of times that come twice only the first counts. Every other job is due whenever the clock shows
/// its time: in both passes, and not at all in a gap, also "*/5 2 * * *" and "0 */2 * * *". Greater
/// changes are corrections: for all jobs only what the clock shows counts.
class Schedule {
 public:
  /// Empty when it is none; `why` then says what is wrong and where: "minute: 75 is not in 0-59".
  static std::optional<Schedule> parse(std::string_view text, std::string& why);
  /// The first moment behind `after` that is due, in seconds since the epoch. Empty when there is
  /// none within 28 years ("0 0 29 2 */7" around 2100), or `after` is beyond the year 9999.
  [[nodiscard]] std::optional<time_t> next(time_t after) const;
  /// As it was given.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

 private:
  Schedule() = default;
  [[nodiscard]] bool ever_comes() const;
  [[nodiscard]] bool on_day(std::chrono::local_days day) const;
  /// What a clock on the wall shows when it is due for the first time, `from` and the day `last`
  /// included: the seconds since the epoch if it showed UTC.
  [[nodiscard]] std::optional<time_t> first_shown(time_t from, std::chrono::local_days last) const;

  std::string text_;
  std::array<uint64_t, 5> fields_{};  ///< in the order of the text, a bit for a value
  bool either_day_ = false;           ///< DAY or WEEKDAY suffices
  bool fixed_ = false;                ///< it is for certain times, see above
};

}  // namespace drover::companions
