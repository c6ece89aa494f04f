// QueueId: the name of one accepted message. Its Text() is what replies, logs, protos and
// keys hold, and the name of the message's blob. Ids sort by the time of acceptance.
// Threads: a value.
#pragma once

#include "absl/time/time.h"
#include "services/common/ids/ids.h"

namespace posthouse::queue {

using QueueId = ObjectId;

// An id of this instant (ObjectId).
inline QueueId NewQueueId(absl::Time now) { return QueueId::New(absl::ToUnixMillis(now)); }
// The millisecond in which the id was made.
inline absl::Time TimeOfQueueId(const QueueId& id) { return absl::FromUnixMillis(id.unix_millis()); }
// The smallest id that can be made at `time`: where a scan by time begins.
inline QueueId FirstQueueIdAt(absl::Time time) { return QueueId::FirstAt(absl::ToUnixMillis(time)); }

}  // namespace posthouse::queue
