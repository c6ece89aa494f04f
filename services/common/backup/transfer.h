// Transfer: copies and reads files, no faster than allowed, until the options' `stop` ends it.
//
// Threads: one. Blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace posthouse::backup {

struct Digest {
  std::string sha256;  // in hex
  uint64_t size_bytes = 0;
};

struct TransferOptions {
  uint64_t max_bytes_per_second = 0;  // 0: no limit
  // Asked every MiB: an error ends the transfer with it. Null: never.
  std::function<absl::Status()> stop;
  // Called with the bytes read since the last call. Null: the bytes are not reported.
  std::function<void(uint64_t)> progress;
};

class Transfer {
 public:
  explicit Transfer(TransferOptions options);
  // Reads the file `from`.
  absl::StatusOr<Digest> Read(const std::string& from);
  // Copies it to `to`, which is created with mode 0600, must not exist, and is synced. After an error `to` is gone.
  absl::StatusOr<Digest> Copy(const std::string& from, const std::string& to);

 private:
  absl::StatusOr<Digest> Run(const std::string& from, int to, const std::string& to_name);
  absl::Status Pace(uint64_t bytes);

  const TransferOptions options_;
  absl::Time free_at_ = absl::InfinitePast();  // when the bytes so far are paid for; monotonic
};

absl::StatusOr<std::string> ReadWhole(const std::string& path);

}  // namespace posthouse::backup
