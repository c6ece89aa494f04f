// BodyReceiver: takes a message's bytes as they come, parses them once, and keeps them as a
// blob of each tenant that wants it. Up to kInMemoryBytes the bytes wait in memory and
// are written in one go; beyond that they stream, and memory stays bounded.
//
// The sweeper keeps the blob while the BodyReceiver lives. Afterwards it removes a blob that no
// row names; Discard() does so at once.
//
// Errors: kInvalidArgument over the size limit or empty; else as store::BlobStore.
// Threads: one task at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/mailbox/folder/blob_pins.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/rows/cache_rows.h"

namespace posthouse::message {
class Parser;
}

namespace posthouse::mailbox {

// A message whose body is kept in the blob store.
struct ReceivedMessage {
  ObjectId blob;
  uint64_t size_bytes = 0;
  std::shared_ptr<const CachedMessage> cached;
};

class BodyReceiver {
 public:
  static constexpr size_t kInMemoryBytes = 256 * 1024;

  BodyReceiver(MailboxDeps& deps, std::vector<TenantId> tenants);
  ~BodyReceiver();

  Task<absl::Status> Add(std::string bytes);
  // Call it after the last Add(). `expected_bytes`: the size that the sender gave; 0: none.
  Task<absl::StatusOr<ReceivedMessage>> Finish(uint64_t expected_bytes);
  // Removes the blob. Call it when no row can name the blob.
  Task<void> Discard();

  bool too_large() const { return too_large_; }

 private:
  Task<absl::Status> Flush();
  MailboxDeps& deps_;
  const std::vector<TenantId> tenants_;
  const ObjectId blob_;
  BlobPins::Hold hold_;
  std::unique_ptr<message::Parser> parser_;
  std::vector<std::unique_ptr<store::BlobWriter>> writers_;  // one a tenant, once streaming
  std::string pending_;                                      // not yet written
  std::string head_;                                         // the beginning, for BuildCachedMessage()
  uint64_t size_bytes_ = 0;
  bool too_large_ = false;
  bool finished_ = false;
};

}  // namespace posthouse::mailbox
