// The name of a store, kept with its files, so that a process does not serve the store of another one.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace posthouse::runtime {

// Compares `name`, which the configuration key `key` ("mailbox.shard") has, with the name in the file SHARD of
// `folder`. The folder belongs to this process. The first start writes the file; a store without a name ("") takes one
// later, and keeps it.
//
// kFailedPrecondition: the store has another name; the message has both. kInvalidArgument: `name` cannot be kept
// (longer than 64 bytes, or a control character). A full volume is no error: the next start writes the file. Blocks.
absl::Status ClaimShard(const std::string& folder, absl::string_view key, const std::string& name);

}  // namespace posthouse::runtime
