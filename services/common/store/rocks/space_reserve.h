// SpaceReserve: a file of allocated blocks beside a store, which is let go when the
// volume is full, so that the store can open and removals can be written.
//
// Threads: one at a time; held() any.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace posthouse::store {

// Bytes of the reserve of a store that keeps `min_free_bytes` free: a quarter, at most 16 MiB.
uint64_t ReserveFor(uint64_t min_free_bytes);

class SpaceReserve {
 public:
  // With 0 bytes there is no reserve.
  SpaceReserve(std::string file, uint64_t bytes);
  uint64_t bytes() const { return bytes_; }
  bool held() const { return held_.load(std::memory_order_relaxed); }
  // Allocates the file, if it is not held. False: there is no room.
  bool Take();
  // Removes the file.
  void Release();

 private:
  const std::string file_;
  const uint64_t bytes_;
  std::atomic<bool> held_{false};
};

}  // namespace posthouse::store
