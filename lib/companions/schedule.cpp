#include "lib/companions/schedule.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <utility>
#include <vector>

namespace drover::companions {
namespace {

namespace chrono = std::chrono;

constexpr time_t kLatest = 253402300799;  // the end of 9999: beyond it calendars overflow
constexpr time_t kHour = 3600;
constexpr time_t kDay = 24 * kHour;
/// cron(8): what changes the clock by as much is no daylight saving.
constexpr time_t kCorrection = 3 * kHour;

enum : size_t { kMinute, kHourOfDay, kDayOfMonth, kMonth, kWeekday };

struct Field {
  std::string_view name;
  unsigned first, last;
  unsigned longest_step;
  std::string_view names;  ///< of `first` and those behind it, three letters each
};
constexpr std::array<Field, 5> kFields = {{
    {"minute", 0, 59, 60, ""},
    {"hour", 0, 23, 24, ""},
    {"day", 1, 31, 31, ""},
    {"month", 1, 12, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {"weekday", 0, 7, 7, "sunmontuewedthufrisat"},
}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kShorthands = {{
    {"@hourly", "0 * * * *"},
    {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"},
    {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
}};

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  size_t end = text.find_first_of(separators);
  for (; end != text.npos; end = text.find_first_of(separators)) {
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  parts.push_back(text);
  return parts;
}

/// The values of one field, or why there are none.
class FieldReader {
 public:
  FieldReader(const Field& field, std::string_view text, std::string& why)
      : field_(field), text_(text), why_(why) {}

  std::optional<uint64_t> read() {
    uint64_t values = 0;
    for (const std::string_view item : split(text_, ",")) {
      const auto more = read_item(item);
      if (!more) return std::nullopt;
      values |= *more;
    }
    return values;
  }

 private:
  std::optional<uint64_t> read_item(std::string_view item) {
    const size_t slash = item.find('/');
    const std::string_view range = item.substr(0, slash);
    const size_t dash = range.find('-');
    std::optional<unsigned> first = field_.first, last = field_.last, step = 1;
    if (range != "*") {
      first = last = value(range.substr(0, dash));
      if (first && dash != range.npos) last = value(range.substr(dash + 1));
      if (!first || !last) return std::nullopt;
      if (*first > *last) return refuse(fmt::format("{} runs backwards", range));
    }
    if (slash != item.npos) {
      if (range != "*" && dash == range.npos)
        return refuse(fmt::format("{} has a step but no range", item));
      step = number(item.substr(slash + 1));
      if (!step) return std::nullopt;
      if (*step < 1 || *step > field_.longest_step)
        return refuse(fmt::format("the step in {} is not in 1-{}", item, field_.longest_step));
    }
    uint64_t values = 0;
    for (unsigned at = *first; at <= *last; at += *step)
      values |= uint64_t{1} << at;
    return values;
  }

  std::optional<unsigned> value(std::string_view word) {
    const auto same = [](char given, char letter) { return (given | 0x20) == letter; };
    for (size_t at = 0; at < field_.names.size(); at += 3) {
      const std::string_view name = field_.names.substr(at, 3);
      if (std::equal(word.begin(), word.end(), name.begin(), name.end(), same))
        return field_.first + static_cast<unsigned>(at / 3);
    }
    const auto found = number(word);
    if (!found || (*found >= field_.first && *found <= field_.last)) return found;
    return refuse(fmt::format("{} is not in {}-{}", word, field_.first, field_.last));
  }

  std::optional<unsigned> number(std::string_view word) {
    if (word.empty()) return refuse(fmt::format("a value is missing in '{}'", text_));
    if (word.find_first_not_of("0123456789") != word.npos)
      return refuse(
          fmt::format("'{}' is no {}", word, field_.names.empty() ? "number" : "number or name"));
    unsigned found = 0;
    for (const char digit : word)
      found = std::min(found * 10 + static_cast<unsigned>(digit - '0'), 1000U);
    return found;
  }

  std::nullopt_t refuse(const std::string& reason) {
    why_ = fmt::format("{}: {}", field_.name, reason);
    return std::nullopt;
  }

  const Field& field_;
  std::string_view text_;
  std::string& why_;
};

/// The five fields of it; those that a shorthand stands for. Empty when there are not five.
std::vector<std::string_view> split_fields(std::string_view text, std::string& why) {
  const auto strange = [](char letter) { return letter != '\t' && (letter < ' ' || letter > '~'); };
  auto words = split(text, " \t");
  std::erase(words, "");
  if (std::any_of(text.begin(), text.end(), strange)) {
    why = "it holds a character that is not printable ASCII";
  } else if (words.size() == 1 && words[0].front() == '@') {
    std::string known;
    for (const auto& [name, meaning] : kShorthands) {
      if (name == words[0]) return split(meaning, " ");
      known += fmt::format(" {}", name);
    }
    why = fmt::format("'{}' is none of{}", words[0], known);
  } else if (words.size() == kFields.size()) {
    return words;
  } else {
    why = fmt::format("{} fields in place of the five MINUTE HOUR DAY MONTH WEEKDAY", words.size());
  }
  return {};
}

/// The least value of a set that is not below `from`.
std::optional<unsigned> least(uint64_t values, unsigned from) {
  const uint64_t rest = from < 64 ? values >> from << from : 0;
  if (rest == 0) return std::nullopt;
  return static_cast<unsigned>(std::countr_zero(rest));
}

chrono::local_seconds as_shown(time_t shown) {
  return chrono::local_seconds(chrono::seconds(shown));
}

/// How far the clock on the wall is ahead of UTC.
time_t offset_at(time_t moment) {
  tm local{};
  ::localtime_r(&moment, &local);
  return local.tm_gmtoff;
}

/// The moment in (begin, end] from which the offset is another than at `begin`.
std::optional<time_t> next_change(time_t begin, time_t end) {
  // Two changes in one stride would be missed. The nearest ever, around Ramadan, are a week apart.
  constexpr time_t kStride = 5 * kDay;
  const time_t offset = offset_at(begin);
  while (begin < end) {
    time_t behind = std::min(begin + kStride, end);
    if (offset_at(behind) == offset) {
      begin = behind;
      continue;
    }
    while (behind - begin > 1) {
      const time_t middle = begin + (behind - begin) / 2;
      (offset_at(middle) == offset ? begin : behind) = middle;
    }
    return behind;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Schedule> Schedule::parse(std::string_view text, std::string& why) {
  const auto words = split_fields(text, why);
  if (words.empty()) return std::nullopt;
  Schedule schedule;
  schedule.text_ = text;
  for (size_t at = 0; at < kFields.size(); ++at) {
    const auto values = FieldReader(kFields[at], words[at], why).read();
    if (!values) return std::nullopt;
    schedule.fields_[at] = *values;
  }
  uint64_t& weekdays = schedule.fields_[kWeekday];
  weekdays |= weekdays >> 7 & 1;
  const auto restricted = [&](size_t field) { return words[field].front() != '*'; };
  schedule.fixed_ = restricted(kMinute) && restricted(kHourOfDay);
  schedule.either_day_ = restricted(kDayOfMonth) && restricted(kWeekday);
  if (schedule.ever_comes()) return schedule;
  why = fmt::format("day: {} never comes in month {}", words[kDayOfMonth], words[kMonth]);
  return std::nullopt;
}

bool Schedule::ever_comes() const {
  if (either_day_) return true;
  // Every date falls on every weekday in some year, 29 February too.
  const unsigned day = *least(fields_[kDayOfMonth], 0);
  for (auto month = least(fields_[kMonth], 0); month; month = least(fields_[kMonth], *month + 1))
    if (chrono::day(day) <= (chrono::year(2000) / static_cast<int>(*month) / chrono::last).day())
      return true;
  return false;
}

bool Schedule::on_day(chrono::local_days day) const {
  const bool date =
      fields_[kDayOfMonth] >> static_cast<unsigned>(chrono::year_month_day(day).day()) & 1;
  const bool weekday = fields_[kWeekday] >> chrono::weekday(day).c_encoding() & 1;
  return either_day_ ? date || weekday : date && weekday;
}

std::optional<time_t> Schedule::first_shown(time_t from, chrono::local_days last) const {
  const auto moment = chrono::ceil<chrono::minutes>(as_shown(from));
  auto day = chrono::floor<chrono::days>(moment);
  const uint64_t hours = fields_[kHourOfDay];
  for (auto begin = static_cast<unsigned>((moment - day).count()); day <= last; begin = 0) {
    const chrono::year_month_day date(day);
    if ((fields_[kMonth] >> static_cast<unsigned>(date.month()) & 1) == 0) {
      day = chrono::local_days(date.year() / date.month() / 1 + chrono::months(1));
      continue;
    }
    for (auto hour = on_day(day) ? least(hours, begin / 60) : std::nullopt; hour;
         hour = least(hours, *hour + 1))
      if (const auto minute = least(fields_[kMinute], *hour == begin / 60 ? begin % 60 : 0))
        return chrono::seconds(day.time_since_epoch()).count() + *hour * kHour +
               time_t{*minute} * 60;
    day += chrono::days(1);
  }
  return std::nullopt;
}

std::optional<time_t> Schedule::next(time_t after) const {
  if (after > kLatest || after < -kLatest) return std::nullopt;
  time_t offset = offset_at(after);
  time_t from = after + offset + 1;
  // Fixed: there are zones in whose gap a job falls in every year.
  const chrono::year_month_day today(chrono::floor<chrono::days>(as_shown(from)));
  const chrono::local_days last(today + chrono::years(28));
  const time_t earlier = offset_at(after - kCorrection);
  if (fixed_ && offset < earlier && earlier - offset < kCorrection)
    // Perhaps `after` lies in a second pass: what comes in it has come already.
    from = std::max(from, next_change(after - kCorrection, after).value_or(after) + earlier);
  while (const auto shown = first_shown(from, last)) {
    const auto change = next_change(after, *shown - offset);
    if (!change) return *shown - offset;
    const time_t old = std::exchange(offset, offset_at(*change));
    const bool caught_up = fixed_ && std::abs(offset - old) < kCorrection;
    if (caught_up && *shown < *change + offset) return change;
    from = *change + (caught_up ? std::max(old, offset) : offset);
    after = *change;
  }
  return std::nullopt;
}

}  // namespace drover::companions
