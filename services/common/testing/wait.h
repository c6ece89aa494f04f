// Waiting in tests, with an end: what does not happen within a minute ends the process
// and names the line that waited, where a bare wait would hang until the test's time is up.
//
//   WaitFor(done);                                  // an absl::Notification
//   EXPECT_TRUE(Eventually([&] { return n == 3; }));  // looks each millisecond
//
// A minute is far above what any of these waits needs, so a slow machine does not fail a
// test. Threads: any, but not an event loop or an executor, since both functions block.
#pragma once

#include <source_location>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/common/status/status.h"

namespace posthouse {

inline constexpr absl::Duration kTestPatience = absl::Minutes(1);

inline void WaitFor(const absl::Notification& notification,
                    std::source_location where = std::source_location::current()) {
  if (notification.WaitForNotificationWithTimeout(kTestPatience)) return;
  CheckFailed(where.file_name(), static_cast<int>(where.line()), "the notification did not come within a minute");
}

// False: `condition` did not become true.
inline bool Eventually(absl::FunctionRef<bool()> condition) {
  const absl::Time end = absl::Now() + kTestPatience;
  while (!condition()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace posthouse
