// CRC-32C (Castagnoli, RFC 3720 §12.1), as RocksDB computes it over the records of its log.
// Threads: stateless.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace posthouse::store {

// The checksum of `bytes`, or of what `crc` is the checksum of, followed by `bytes`.
uint32_t Crc32c(absl::string_view bytes, uint32_t crc = 0);

}  // namespace posthouse::store
