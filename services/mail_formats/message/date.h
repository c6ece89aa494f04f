// The Date field: RFC 5322 §3.3 with obsolete zones and years, and the errors of real
// mail (missing weekday, missing seconds, wrong weekday, two digits, dashes, ctime).
// Threads: stateless; values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace posthouse::message {

struct Date {
  absl::Time time;
  int zone_minutes = 0;     // east of UTC
  bool zone_known = false;  // "-0000" and unknown names: false (RFC 5322 §3.3)

  // Days since 1970-01-01 of the date as written, without regard to time and zone:
  // what SENTBEFORE, SENTON and SENTSINCE compare (RFC 9051 §6.4.4).
  int64_t WrittenDay() const;
};

// nullopt: day, month or year is unreadable. A date with an unreadable time gets
// 00:00:00.
std::optional<Date> ParseDate(absl::string_view raw);

// "Fri, 21 Nov 1997 09:55:06 -0600" (RFC 5322 §3.3).
std::string FormatDate(absl::Time time, int zone_minutes);

}  // namespace posthouse::message
