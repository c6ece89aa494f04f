// Numbers in keys and files: most significant byte first, so that they sort as bytes do. Internal.
// Threads: stateless.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::store {

// Appends the last `bytes` bytes of `value`.
inline void AppendBigEndian(std::string* out, uint64_t value, int bytes) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out->push_back(static_cast<char>(value >> shift));
}

// Of at most 8 bytes.
inline uint64_t ReadBigEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

}  // namespace posthouse::store
