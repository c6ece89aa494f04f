#include "services/mail_formats/message/date.h"

#include <gtest/gtest.h>

#include <string>

namespace posthouse::message {
namespace {

std::string Show(absl::string_view raw) {
  const std::optional<Date> date = ParseDate(raw);
  if (!date) return "none";
  return FormatDate(date->time, date->zone_minutes) + (date->zone_known ? "" : " ?");
}

TEST(DateTest, Tolerant) {
  const std::pair<const char*, const char*> kCases[] = {
      // RFC 5322 §3.3 and appendix A
      {"Fri, 21 Nov 1997 09:55:06 -0600", "Fri, 21 Nov 1997 09:55:06 -0600"},
      {"Thu, 13 Feb 1969 23:32:54 -0330", "Thu, 13 Feb 1969 23:32:54 -0330"},
      {"Thu,\r\n 13\r\n Feb\r\n 1969\r\n 23:32\r\n -0330 (Newfoundland Time)", "Thu, 13 Feb 1969 23:32:00 -0330"},
      {"21 Nov 97 09:55:06 GMT", "Fri, 21 Nov 1997 09:55:06 +0000"},
      {"Fri, 21 Nov 1997 09(comment):55:06 -0600", "Fri, 21 Nov 1997 00:00:00 -0600"},
      {"1 Jan 2020 00:00 -0000", "Wed, 01 Jan 2020 00:00:00 +0000 ?"},
      {"1 Jan 2020 00:00:60 Z", "Wed, 01 Jan 2020 00:01:00 +0000"},
      {"1 Jan 49 00:00 UT", "Fri, 01 Jan 2049 00:00:00 +0000"},
      {"1 Jan 50 00:00 UT", "Sun, 01 Jan 1950 00:00:00 +0000"},
      {"1 Jan 102 00:00 EST", "Tue, 01 Jan 2002 00:00:00 -0500"},
      // real life
      {"Mon, 21 Nov 1997 09:55:06 -0600", "Fri, 21 Nov 1997 09:55:06 -0600"},  // wrong weekday
      {"Fri Nov 21 09:55:06 1997", "Fri, 21 Nov 1997 09:55:06 +0000 ?"},       // ctime
      {"Fri Nov 21 09:55:06 CET 1997", "Fri, 21 Nov 1997 09:55:06 +0100"},
      {"21-Nov-1997 09:55:06 +0100", "Fri, 21 Nov 1997 09:55:06 +0100"},
      {"Friday, 21 November 1997 9:55 AM +0100", "Fri, 21 Nov 1997 09:55:00 +0100"},
      {"21 Nov 1997 9:55 PM", "Fri, 21 Nov 1997 21:55:00 +0000 ?"},
      {"1997-11-21T09:55:06Z", "Fri, 21 Nov 1997 09:55:06 +0000"},
      {"1997-11-21 09:55:06 +01:00", "Fri, 21 Nov 1997 09:55:06 +0100"},
      {"Fri, 21 Nov 1997 09:55:06 FOO", "Fri, 21 Nov 1997 09:55:06 +0000 ?"},
      {"Fri, 21 Nov 1997 09:55:06 +9999", "Fri, 21 Nov 1997 09:55:06 +0000 ?"},
      {"Fri, 21 Nov 1997 29:55:06 +0000", "Fri, 21 Nov 1997 00:00:00 +0000"},
      {"Fri, 21 Nov 1997", "Fri, 21 Nov 1997 00:00:00 +0000 ?"},
      {"Fri, 21 Nov 1997 09.55.06 +0100", "Fri, 21 Nov 1997 09:55:06 +0100"},
      {"31 Jun 2020 00:00:00 +0000", "none"},
      {"29 Feb 2021 00:00:00 +0000", "none"},
      {"29 Feb 2020 00:00:00 +0000", "Sat, 29 Feb 2020 00:00:00 +0000"},
      {"", "none"},
      {"yesterday", "none"},
      {"Nov 1997", "none"},
      {"99999999999999999999 Nov 1997", "none"},
  };
  for (const auto& [in, out] : kCases) EXPECT_EQ(Show(in), out) << in;
}

// RFC 9051 §6.4.4: SENTON looks at the date as written.
TEST(DateTest, WrittenDayDisregardsTheZone) {
  EXPECT_EQ(ParseDate("Thu, 01 Jan 1970 23:30:00 -1100")->WrittenDay(), 0);
  EXPECT_EQ(ParseDate("Fri, 02 Jan 1970 00:30:00 +1100")->WrittenDay(), 1);
}

}  // namespace
}  // namespace posthouse::message
