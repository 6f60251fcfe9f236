#include "lib/config/duration.h"

#include "tests/unit/catch.h"

using drover::config::parse_duration;
using namespace std::chrono_literals;

TEST_CASE("durations read as people write them") {
  CHECK(parse_duration("5") == 5s);
  CHECK(parse_duration("5s") == 5s);
  CHECK(parse_duration("250ms") == 250ms);
  CHECK(parse_duration("2m") == 2min);
  CHECK(parse_duration("2min") == 2min);
  CHECK(parse_duration("1.5h") == 90min);
  CHECK(parse_duration("1d") == 24h);
  CHECK(parse_duration("0") == 0s);
  CHECK(parse_duration("0.05") == 50ms);
}

TEST_CASE("what is no duration is refused") {
  for (const char* text : {"", " ", "s", "-1", "+1", "5 s", "5x", "nan", "inf", "1e3", "1e999",
                           "5s5", "0x10", "1001d", "99999999999999999999"})
    CHECK_FALSE(parse_duration(text).has_value());
}
