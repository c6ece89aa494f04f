// Holding messages: after a restore, it is unknown which messages of the queue were delivered since the backup.
//
// The waiting recipients of a held message have next_attempt kHeldUntil, in the item and so in the due index: no job
// looks at it, no time expires it, and a restart changes nothing. An operator's retry makes it due, and
// gives it a day before it expires; an operator can delete it as well. New messages are not held. Threads: any.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/queue/spool/spool.h"

namespace posthouse::queue {

inline constexpr absl::Time kHeldUntil = absl::FromUnixSeconds(253370764800);  // 9999-01-01T00:00:00Z
// A held message that is released does not expire earlier than after this.
inline constexpr absl::Duration kReleasedLife = absl::Hours(24);

// Holds every message of the spool, and returns how many it changed. Only before the dispatcher starts. After an
// error or a crash it may be called again.
Task<absl::StatusOr<uint64_t>> HoldAll(Spool& spool, absl::Duration delay_warning_after);

}  // namespace posthouse::queue
