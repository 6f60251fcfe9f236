#include "lib/companions/schedule.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "tests/unit/catch.h"

using drover::companions::Schedule;

namespace {

constexpr const char* kBerlin = "CET-1CEST,M3.5.0,M10.5.0/3";

/// TZ for as long as it lives.
class Zone {
 public:
  explicit Zone(const char* name) {
    if (const char* const before = std::getenv("TZ")) before_ = before;
    ::setenv("TZ", name, 1);
    ::tzset();
  }
  ~Zone() {
    before_ ? ::setenv("TZ", before_->c_str(), 1) : ::unsetenv("TZ");
    ::tzset();
  }
  Zone(const Zone&) = delete;
  Zone& operator=(const Zone&) = delete;

 private:
  std::optional<std::string> before_;
};

time_t utc(const std::string& text) {
  tm parts{};
  const char* const end = ::strptime(text.c_str(), "%Y-%m-%d %H:%M:%S", &parts);
  REQUIRE((end != nullptr && *end == '\0'));
  return ::timegm(&parts);
}

Schedule parsed(const std::string& text) {
  std::string why;
  const auto schedule = Schedule::parse(text, why);
  INFO(text << ": " << why);
  REQUIRE(schedule.has_value());
  return *schedule;
}

std::string refusal(const std::string& text) {
  std::string why;
  return Schedule::parse(text, why) ? "accepted" : why;
}

/// "2024-02-29 00:00 +0000", or "never".
std::string shown(std::optional<time_t> moment) {
  if (!moment) return "never";
  tm local{};
  ::localtime_r(&*moment, &local);
  std::array<char, 64> text{};
  ::strftime(text.data(), text.size(), local.tm_sec == 0 ? "%F %H:%M %z" : "%F %T %z", &local);
  return text.data();
}

using Times = std::vector<std::string>;

/// The next times behind a moment of UTC.
Times following(const std::string& text, const std::string& after, size_t count) {
  const Schedule schedule = parsed(text);
  Times times;
  std::optional<time_t> moment = utc(after);
  while (moment && times.size() < count) {
    moment = schedule.next(*moment);
    times.push_back(shown(moment));
  }
  return times;
}

/// The dates of the next times.
Times dates(const std::string& text, const std::string& after, size_t count) {
  Times times = following(text, after, count);
  for (auto& time : times)
    time = time.substr(0, time.find(' '));
  return times;
}

}  // namespace

TEST_CASE("a schedule is due at the times of its fields") {
  const Zone zone("UTC");
  CHECK(following("30 4 * * *", "2023-05-01 00:00:00", 2) ==
        Times{"2023-05-01 04:30 +0000", "2023-05-02 04:30 +0000"});
  CHECK(following("*/20 * * * *", "2023-05-01 23:30:00", 3) ==
        Times{"2023-05-01 23:40 +0000", "2023-05-02 00:00 +0000", "2023-05-02 00:20 +0000"});
  CHECK(following("10-30/7,59 5 * * *", "2023-05-01 00:00:00", 4) ==
        Times{"2023-05-01 05:10 +0000", "2023-05-01 05:17 +0000", "2023-05-01 05:24 +0000",
              "2023-05-01 05:59 +0000"});
  CHECK(following("\t 5,0 \t12-13  1 jAN,DEC * ", "2023-05-01 00:00:00", 5) ==
        Times{"2023-12-01 12:00 +0000", "2023-12-01 12:05 +0000", "2023-12-01 13:00 +0000",
              "2023-12-01 13:05 +0000", "2024-01-01 12:00 +0000"});
  CHECK(dates("007 */24 */31 */12 */7", "2023-01-01 00:07:00", 1) == Times{"2034-01-01"});
}

TEST_CASE("the next time lies behind the moment, also in the middle of a minute") {
  const Zone zone("UTC");
  CHECK(following("* * * * *", "2023-05-01 10:00:00", 1) == Times{"2023-05-01 10:01 +0000"});
  CHECK(following("* * * * *", "2023-05-01 10:00:01", 1) == Times{"2023-05-01 10:01 +0000"});
  CHECK(following("* * * * *", "2023-05-01 09:59:59", 1) == Times{"2023-05-01 10:00 +0000"});
  CHECK(following("* * * * *", "1969-12-31 23:58:30", 2) ==
        Times{"1969-12-31 23:59 +0000", "1970-01-01 00:00 +0000"});
}

TEST_CASE("weekdays and months have names, and Sunday two numbers") {
  const Zone zone("UTC");
  for (const char* text : {"0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "0 0 * * SUN", "0 0 * * */7"})
    CHECK(dates(text, "2023-05-01 00:00:00", 2) == Times{"2023-05-07", "2023-05-14"});
  CHECK(dates("0 0 * * fri-7", "2023-05-01 00:00:00", 4) ==
        Times{"2023-05-05", "2023-05-06", "2023-05-07", "2023-05-12"});
  CHECK(dates("0 0 * * Mon-wed/2,sat", "2023-05-01 00:00:00", 4) ==
        Times{"2023-05-03", "2023-05-06", "2023-05-08", "2023-05-10"});
  const Times months{"jan", "feb", "mar", "apr", "may", "jun",
                     "jul", "aug", "sep", "oct", "nov", "dec"};
  for (size_t at = 0; at < months.size(); ++at)
    CHECK(following("0 0 1 " + months[at] + " *", "2022-12-31 23:59:00", 1) ==
          following("0 0 1 " + std::to_string(at + 1) + " *", "2022-12-31 23:59:00", 1));
  const Times weekdays{"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
  for (size_t at = 0; at < weekdays.size(); ++at)
    CHECK(following("0 0 * * " + weekdays[at], "2023-05-01 00:00:00", 1) ==
          following("0 0 * * " + std::to_string(at), "2023-05-01 00:00:00", 1));
}

TEST_CASE("a day and a weekday: either suffices, both are needed behind a star") {
  const Zone zone("UTC");
  CHECK(dates("0 0 13 * fri", "2023-10-01 00:00:00", 5) ==
        Times{"2023-10-06", "2023-10-13", "2023-10-20", "2023-10-27", "2023-11-03"});
  CHECK(dates("0 0 1,15 * mon", "2023-05-02 00:00:00", 4) ==
        Times{"2023-05-08", "2023-05-15", "2023-05-22", "2023-05-29"});
  CHECK(dates("0 0 */2 * mon", "2023-05-02 00:00:00", 3) ==
        Times{"2023-05-15", "2023-05-29", "2023-06-05"});
  CHECK(dates("0 0 1-31/2 * mon", "2023-05-02 00:00:00", 3) ==
        Times{"2023-05-03", "2023-05-05", "2023-05-07"});
  CHECK(dates("0 0 13 * */5", "2023-01-01 00:00:00", 3) ==
        Times{"2023-01-13", "2023-08-13", "2023-10-13"});
  CHECK(dates("0 0 30 2 mon", "2023-01-01 00:00:00", 2) == Times{"2023-02-06", "2023-02-13"});
}

TEST_CASE("months end when they do") {
  const Zone zone("UTC");
  CHECK(dates("0 0 31 * *", "2023-01-31 00:00:00", 4) ==
        Times{"2023-03-31", "2023-05-31", "2023-07-31", "2023-08-31"});
  CHECK(dates("59 23 28-31 feb *", "2023-01-01 00:00:00", 3) ==
        Times{"2023-02-28", "2024-02-28", "2024-02-29"});
  CHECK(dates("0 0 29 2 *", "2023-01-01 00:00:00", 2) == Times{"2024-02-29", "2028-02-29"});
  CHECK(dates("0 0 29 2 *", "2096-02-29 00:00:00", 1) == Times{"2104-02-29"});
  CHECK(dates("0 0 1 1 *", "2023-12-31 23:59:59", 1) == Times{"2024-01-01"});
}

TEST_CASE("shorthands") {
  const Zone zone("UTC");
  const std::string after = "2023-05-01 10:10:10";
  CHECK(following("@hourly", after, 2) ==
        Times{"2023-05-01 11:00 +0000", "2023-05-01 12:00 +0000"});
  for (const char* text : {"@daily", "@midnight"})
    CHECK(following(text, after, 2) == Times{"2023-05-02 00:00 +0000", "2023-05-03 00:00 +0000"});
  CHECK(following("@weekly", after, 2) ==
        Times{"2023-05-07 00:00 +0000", "2023-05-14 00:00 +0000"});
  CHECK(following(" @monthly ", after, 2) ==
        Times{"2023-06-01 00:00 +0000", "2023-07-01 00:00 +0000"});
  for (const char* text : {"@yearly", "@annually"})
    CHECK(following(text, after, 2) == Times{"2024-01-01 00:00 +0000", "2025-01-01 00:00 +0000"});
}

TEST_CASE("a schedule keeps its text, and says nothing when it is sound") {
  for (const char* text : {"@weekly", " 5 4  * * sun"}) {
    std::string why = "as before";
    const auto schedule = Schedule::parse(text, why);
    REQUIRE(schedule.has_value());
    CHECK(schedule->text() == text);
    CHECK(why == "as before");
  }
}

TEST_CASE("what is no schedule is refused, and why") {
  CHECK(refusal("75 * * * *") == "minute: 75 is not in 0-59");
  CHECK(refusal("* 24 * * *") == "hour: 24 is not in 0-23");
  CHECK(refusal("* * 0 * *") == "day: 0 is not in 1-31");
  CHECK(refusal("* * 1,32 * *") == "day: 32 is not in 1-31");
  CHECK(refusal("* * * 0-3 *") == "month: 0 is not in 1-12");
  CHECK(refusal("* * * 13 *") == "month: 13 is not in 1-12");
  CHECK(refusal("* * * * 8") == "weekday: 8 is not in 0-7");
  CHECK(refusal("4294967296 * * * *") == "minute: 4294967296 is not in 0-59");
  CHECK(refusal("1-99999999999999999999999 * * * *") ==
        "minute: 99999999999999999999999 is not in 0-59");
  CHECK(refusal("* 5-1 * * *") == "hour: 5-1 runs backwards");
  CHECK(refusal("* * * * fri-sun") == "weekday: fri-sun runs backwards");
  CHECK(refusal("5/10 * * * *") == "minute: 5/10 has a step but no range");
  CHECK(refusal("*/0 * * * *") == "minute: the step in */0 is not in 1-60");
  CHECK(refusal("*/61 * * * *") == "minute: the step in */61 is not in 1-60");
  CHECK(refusal("* 0-9/4294967297 * * *") == "hour: the step in 0-9/4294967297 is not in 1-24");
  CHECK(refusal("* * * * */8") == "weekday: the step in */8 is not in 1-7");
  for (const char* text : {",", "1,", ",1", "1,,2", "-1", "1-", "*/", "1-2/", "/5"})
    CHECK(refusal(std::string(text) + " * * * *") ==
          "minute: a value is missing in '" + std::string(text) + "'");
  CHECK(refusal("+1 * * * *") == "minute: '+1' is no number");
  CHECK(refusal("*/-5 * * * *") == "minute: '-5' is no number");
  CHECK(refusal("1-2-3 * * * *") == "minute: '2-3' is no number");
  CHECK(refusal("*/5/2 * * * *") == "minute: '5/2' is no number");
  CHECK(refusal("** * * * *") == "minute: '**' is no number");
  CHECK(refusal("*-5 * * * *") == "minute: '*' is no number");
  CHECK(refusal("0x5 * * * *") == "minute: '0x5' is no number");
  CHECK(refusal("1.5 * * * *") == "minute: '1.5' is no number");
  CHECK(refusal("jan * * * *") == "minute: 'jan' is no number");
  CHECK(refusal("* * L * *") == "day: 'L' is no number");
  CHECK(refusal("* * * january *") == "month: 'january' is no number or name");
  CHECK(refusal("* * * ebm *") == "month: 'ebm' is no number or name");
  CHECK(refusal("* * * sun *") == "month: 'sun' is no number or name");
  CHECK(refusal("* * * * ja") == "weekday: 'ja' is no number or name");
  CHECK(refusal("* * * * mon/2") == "weekday: mon/2 has a step but no range");
  CHECK(refusal("* * * * */mon") == "weekday: 'mon' is no number or name");
  const std::string wanted = " fields in place of the five MINUTE HOUR DAY MONTH WEEKDAY";
  CHECK(refusal("") == "0" + wanted);
  CHECK(refusal(" \t") == "0" + wanted);
  CHECK(refusal("* * * *") == "4" + wanted);
  CHECK(refusal("* * * * * *") == "6" + wanted);
  CHECK(refusal("@daily 5") == "2" + wanted);
  CHECK(refusal("@reboot") ==
        "'@reboot' is none of @hourly @daily @midnight @weekly @monthly @yearly @annually");
  for (const char* text : {"* * * *\n*", "* * * * *\n", "* * * * \xc3\xa9", "* * * * \x7f"})
    CHECK(refusal(text) == "it holds a character that is not printable ASCII");
}

TEST_CASE("what never comes is refused") {
  CHECK(refusal("0 0 30 2 *") == "day: 30 never comes in month 2");
  CHECK(refusal("0 0 31 4,jun,9,11 *") == "day: 31 never comes in month 4,jun,9,11");
  CHECK(refusal("0 0 30-31 2 */2") == "day: 30-31 never comes in month 2");
  for (const char* text : {"0 0 29 2 *", "0 0 31 4,5 *", "0 0 29-31 2 *", "0 0 30 2 1"})
    CHECK(refusal(text) == "accepted");
}

TEST_CASE("the search ends after 28 years, and at the ends of time") {
  const Zone zone("UTC");
  CHECK(dates("0 0 29 2 */7", "2032-02-29 00:00:00", 3) ==
        Times{"2060-02-29", "2088-02-29", "never"});
  const Schedule schedule = parsed("* * * * *");
  for (const time_t after : {std::numeric_limits<time_t>::max(), std::numeric_limits<time_t>::min(),
                             utc("9999-12-31 23:59:59") + 1})
    CHECK_FALSE(schedule.next(after).has_value());
  CHECK(schedule.next(utc("9999-12-31 23:59:00")) == utc("9999-12-31 23:59:00") + 60);
}

TEST_CASE("a search is quick, however far it goes") {
  const Zone zone(kBerlin);
  const Schedule schedule = parsed("0 0 29 2 */7");
  const clock_t begin = ::clock();
  for (int round = 0; round < 20; ++round)
    CHECK(schedule.next(utc("2033-01-01 00:00:00")) == utc("2060-02-28 23:00:00"));
  // Minute by minute it is a matter of seconds each.
  CHECK(::clock() - begin < 5 * CLOCKS_PER_SEC);
}

TEST_CASE("a job whose time is in the gap every year does not keep the search going") {
  const Zone zone("AAA0BBB-1,J89/2,J300/3");
  CHECK(shown(parsed("*/5 2 30 3 *").next(utc("2023-01-01 00:00:00"))) == "never");
  CHECK(shown(parsed("5 2 30 3 *").next(utc("2023-01-01 00:00:00"))) == "2023-03-30 03:00 +0100");
}

TEST_CASE("local time is that of TZ") {
  const Zone zone(kBerlin);
  CHECK(following("0 12 1 1,7 *", "2023-05-01 00:00:00", 2) ==
        Times{"2023-07-01 12:00 +0200", "2024-01-01 12:00 +0100"});
}

TEST_CASE("a clock that is put back for a week only is not overlooked") {
  const Zone zone("AAA0BBB1,J100/2,J107/2");
  CHECK(following("*/30 1 10 4 *", "2023-04-10 01:45:00", 3) ==
        Times{"2023-04-10 01:00 -0100", "2023-04-10 01:30 -0100", "2024-04-10 01:00 +0000"});
}

TEST_CASE("fixed times that daylight saving skips are due once behind the gap") {
  const Zone zone(kBerlin);
  const std::string evening = "2024-03-30 12:00:00";
  CHECK(following("30 2 * * *", evening, 2) ==
        Times{"2024-03-31 03:00 +0200", "2024-04-01 02:30 +0200"});
  CHECK(following("0,15,59 1-2 * * *", evening, 5) ==
        Times{"2024-03-31 01:00 +0100", "2024-03-31 01:15 +0100", "2024-03-31 01:59 +0100",
              "2024-03-31 03:00 +0200", "2024-04-01 01:00 +0200"});
  CHECK(following("0 2,3 * * *", evening, 2) ==
        Times{"2024-03-31 03:00 +0200", "2024-04-01 02:00 +0200"});
  CHECK(following("30 2 31 3 *", evening, 2) ==
        Times{"2024-03-31 03:00 +0200", "2025-03-31 02:30 +0200"});
  CHECK(following("30 2 * * *", "2024-03-31 00:59:59", 1) == Times{"2024-03-31 03:00 +0200"});
  CHECK(following("30 2 * * *", "2024-03-31 01:00:00", 1) == Times{"2024-04-01 02:30 +0200"});
  CHECK(following("30 2 30 3 *", evening, 1) == Times{"2025-03-30 03:00 +0200"});
}

TEST_CASE("times with a star are not caught up with") {
  const Zone zone(kBerlin);
  CHECK(following("*/30 2 * * *", "2024-03-30 12:00:00", 1) == Times{"2024-04-01 02:00 +0200"});
  CHECK(following("30 */2 * * *", "2024-03-31 00:00:00", 1) == Times{"2024-03-31 04:30 +0200"});
  CHECK(following("30 * * * *", "2024-03-31 00:00:00", 3) ==
        Times{"2024-03-31 01:30 +0100", "2024-03-31 03:30 +0200", "2024-03-31 04:30 +0200"});
}

TEST_CASE("fixed times that come twice are due once, the first time") {
  const Zone zone(kBerlin);
  CHECK(following("30 2 * * *", "2024-10-26 12:00:00", 2) ==
        Times{"2024-10-27 02:30 +0200", "2024-10-28 02:30 +0100"});
  CHECK(following("0,30 1-3 * * *", "2024-10-26 23:45:00", 5) ==
        Times{"2024-10-27 02:00 +0200", "2024-10-27 02:30 +0200", "2024-10-27 03:00 +0100",
              "2024-10-27 03:30 +0100", "2024-10-28 01:00 +0100"});
  // Asked within the second pass.
  CHECK(following("30 2 * * *", "2024-10-27 01:00:00", 1) == Times{"2024-10-28 02:30 +0100"});
  CHECK(following("59 2 * * *", "2024-10-27 01:58:00", 1) == Times{"2024-10-28 02:59 +0100"});
  CHECK(following("0 3 * * *", "2024-10-27 01:30:00", 1) == Times{"2024-10-27 03:00 +0100"});
}

TEST_CASE("times with a star are due in both passes") {
  const Zone zone(kBerlin);
  CHECK(following("30 * * * *", "2024-10-26 23:45:00", 3) ==
        Times{"2024-10-27 02:30 +0200", "2024-10-27 02:30 +0100", "2024-10-27 03:30 +0100"});
  CHECK(following("@hourly", "2024-10-26 23:45:00", 3) ==
        Times{"2024-10-27 02:00 +0200", "2024-10-27 02:00 +0100", "2024-10-27 03:00 +0100"});
  CHECK(following("*/30 2 * * *", "2024-10-26 23:45:00", 4) ==
        Times{"2024-10-27 02:00 +0200", "2024-10-27 02:30 +0200", "2024-10-27 02:00 +0100",
              "2024-10-27 02:30 +0100"});
}

TEST_CASE("a change of three hours is a correction, one minute less is not") {
  const std::string evening = "2024-03-30 12:00:00", autumn = "2024-10-26 12:00:00";
  {
    const Zone zone("AAA0BBB-3,M3.5.0,M10.5.0/5");
    CHECK(following("30 3 * * *", evening, 1) == Times{"2024-04-01 03:30 +0300"});
    CHECK(following("30 3 * * *", autumn, 2) ==
          Times{"2024-10-27 03:30 +0300", "2024-10-27 03:30 +0000"});
  }
  const Zone zone("AAA0BBB-2:59,M3.5.0,M10.5.0/5");
  CHECK(following("30 3 * * *", evening, 1) == Times{"2024-03-31 04:59 +0259"});
  CHECK(following("30 3 * * *", autumn, 2) ==
        Times{"2024-10-27 03:30 +0259", "2024-10-28 03:30 +0000"});
}

namespace {

/// What a schedule means, drawn at random, without the parser.
struct Drawn {
  std::string text;
  std::array<std::set<int>, 5> values;
  std::array<bool, 5> star{};
};

Drawn draw(std::mt19937& random) {
  constexpr std::array<std::array<int, 2>, 5> kBounds = {
      {{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}}};
  const auto among = [&](int first, int last) {
    return first + static_cast<int>(random() % static_cast<unsigned>(last - first + 1));
  };
  Drawn drawn;
  for (size_t field = 0; field < 5; ++field) {
    const auto [first, last] = kBounds[field];
    const int items = among(0, 3);
    std::string text;
    for (int item = 0; item < std::max(items, 1); ++item) {
      // Hours and months in which something happens to the clock are drawn more often.
      const int high = field == 1 && among(0, 2) > 0 ? 4 : last;
      int from = among(first, high), to = among(from, last), step = 1;
      std::string written = std::to_string(from);
      if (items == 0 || (field == 3 && among(0, 1) == 0)) {
        from = first, to = last, written = "*";
      } else if (among(0, 1) == 0) {
        to = from;
      } else {
        written += "-" + std::to_string(to);
      }
      if (written == "*" || to != from)
        if (among(0, 2) == 0) written += "/" + std::to_string(step = among(1, field == 4 ? 7 : 9));
      for (int value = from; value <= to; value += step)
        drawn.values[field].insert(field == 4 ? value % 7 : value);
      text += (item > 0 ? "," : "") + written;
    }
    drawn.star[field] = text.front() == '*';
    drawn.text += (field > 0 ? " " : "") + text;
  }
  return drawn;
}

struct Minute {
  time_t moment;
  int shown;  ///< in minutes, as if the clock showed UTC
  tm local;
};

/// With the changes of the clock, and a leap day.
constexpr std::pair<const char*, const char*> kWeeks[] = {
    {"2024-02-25 00:00:00", "2024-04-12 00:00:00"}, {"2024-09-27 00:00:00", "2024-11-08 00:00:00"}};

std::vector<Minute> minutes_of(const char* from, const char* to) {
  std::vector<Minute> minutes;
  for (time_t moment = utc(from), end = utc(to); moment < end; moment += 60) {
    Minute minute{moment, 0, {}};
    ::localtime_r(&moment, &minute.local);
    tm copy = minute.local;
    minute.shown = static_cast<int>(::timegm(&copy) / 60);
    minutes.push_back(minute);
  }
  return minutes;
}

bool fits(const Drawn& drawn, const tm& time) {
  const bool day = drawn.values[2].contains(time.tm_mday);
  const bool weekday = drawn.values[4].contains(time.tm_wday);
  return drawn.values[0].contains(time.tm_min) && drawn.values[1].contains(time.tm_hour) &&
         drawn.values[3].contains(time.tm_mon + 1) &&
         (drawn.star[2] || drawn.star[4] ? day && weekday : day || weekday);
}

/// What cron does: a clock of its own that follows the one on the wall, see cron.c.
std::vector<time_t> run_cron(const Drawn& drawn, const std::vector<Minute>& minutes) {
  const bool wild = drawn.star[0] || drawn.star[1];
  std::vector<time_t> runs;
  int done = minutes.front().shown - 1;
  for (const Minute& minute : minutes) {
    const int ahead = minute.shown - done;
    bool due = fits(drawn, minute.local) && (wild || ahead > 0);
    if (ahead < -180 || ahead > 180) {
      due = fits(drawn, minute.local);
      done = minute.shown;
    }
    for (; done < minute.shown; ++done) {
      if (wild || due) continue;
      const time_t skipped = (static_cast<time_t>(done) + 1) * 60;
      tm time{};
      ::gmtime_r(&skipped, &time);
      due = fits(drawn, time);
    }
    if (due) runs.push_back(minute.moment);
  }
  return runs;
}

void compare_with_cron(const char* zone_name, const char* from, const char* to, unsigned seed) {
  const Zone zone(zone_name);
  const std::vector<Minute> minutes = minutes_of(from, to);
  std::mt19937 random(seed);
  size_t compared = 0;
  for (int round = 0; round < 50; ++round) {
    const Drawn drawn = draw(random);
    std::string why;
    const auto schedule = Schedule::parse(drawn.text, why);
    INFO(zone_name << ": " << drawn.text << ": " << why);
    if (!schedule && why.find("never comes") != std::string::npos) continue;
    REQUIRE(schedule.has_value());
    const std::vector<time_t> runs = run_cron(drawn, minutes);
    // What the clock did before the first of these minutes, cron has not seen.
    time_t after = minutes.front().moment - 1;
    while (after < minutes.back().moment) {
      const auto expected = std::upper_bound(runs.begin(), runs.end(), after);
      const auto found = schedule->next(after);
      const bool same =
          expected != runs.end() ? found == *expected : !found || *found > minutes.back().moment;
      if (!same) FAIL(after << ", " << shown(after) << ": " << shown(found));
      compared += expected != runs.end() ? 1 : 0;
      const time_t further = after + 1 + static_cast<time_t>(random() % 20000);
      after = expected != runs.end() && random() % 4 > 0 ? *expected : further;
    }
  }
  CHECK(compared > 1000);
}

}  // namespace

TEST_CASE("schedules drawn at random are due when cron runs them") {
  unsigned seed = 1;
  for (const char* zone : {"UTC", kBerlin,
                           // Around midnight, half an hour, by too much.
                           "NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01",
                           "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "AAA0BBB-4,M3.5.0,M10.5.0/3"})
    for (const auto& [from, to] : kWeeks)
      compare_with_cron(zone, from, to, seed++);
}
