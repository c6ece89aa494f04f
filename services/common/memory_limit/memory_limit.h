// How much memory this process may use: the limit of its control group (a container, a systemd unit), and the size of
// caches that fits it. Threads: stateless.
#pragma once

#include <cstdint>
#include <string>

namespace posthouse {

// The least limit of this process's control group and those above it, in bytes; 0: none. Version 2 (memory.max) and
// version 1 (memory.limit_in_bytes). `proc` and `sys` are the mount points, which tests change.
uint64_t MemoryLimit(const std::string& proc = "/proc", const std::string& sys = "/sys/fs/cgroup");

// The default of a store's cache of blocks and of its write buffers, for a process that has `stores` stores. Without a
// limit these are 64 MiB and 32 MiB. With one, the caches together take a quarter of it (each 8 MiB to 1 GiB), and the
// write buffers, of which a store fills up to four, at most another quarter (each 4 to 32 MiB).
struct StoreMemory {
  uint64_t block_cache_bytes = 0;
  uint64_t write_buffer_bytes = 0;
};
StoreMemory StoreMemoryFor(uint64_t limit, int stores);

}  // namespace posthouse
