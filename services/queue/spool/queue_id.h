// Queue ids: the name of one accepted message, in logs, replies and keys.
//
// 26 characters of Crockford's base 32 (digits and upper case letters without
// I, L, O, U): 10 for the milliseconds since 1970, 16 for 80 random bits. So they
// sort by time of acceptance, can be read out on a telephone, name a blob and a
// file, and cannot be guessed from another id. Threads: any.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace posthouse::queue {

inline constexpr size_t kQueueIdBytes = 26;

// `random` is 10 bytes; without it they come from the system's generator.
std::string NewQueueId(absl::Time now);
std::string MakeQueueId(absl::Time now, absl::string_view random);

bool IsQueueId(absl::string_view text);
// The millisecond in which the id was made. `id` must be a queue id.
absl::Time TimeOfQueueId(absl::string_view id);
// The smallest id that can be made at `time`: where a scan by time begins.
std::string FirstQueueIdAt(absl::Time time);

// Bytes nobody can predict (getrandom).
std::string RandomBytes(size_t n);

}  // namespace posthouse::queue
