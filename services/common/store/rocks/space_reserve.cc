#include "services/common/store/rocks/space_reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "services/common/log/log.h"

namespace posthouse::store {

uint64_t ReserveFor(uint64_t min_free_bytes) { return std::min(min_free_bytes / 4, uint64_t{16} << 20); }

SpaceReserve::SpaceReserve(std::string file, uint64_t bytes) : file_(std::move(file)), bytes_(bytes) {
  struct stat found = {};
  held_ = bytes_ > 0 && stat(file_.c_str(), &found) == 0 && static_cast<uint64_t>(found.st_blocks) * 512 >= bytes_;
}

bool SpaceReserve::Take() {
  if (held() || bytes_ == 0) return true;
  const int file = open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return false;
  const bool allocated = posix_fallocate(file, 0, static_cast<off_t>(bytes_)) == 0;
  close(file);
  if (!allocated) unlink(file_.c_str());
  held_ = allocated;
  return allocated;
}

void SpaceReserve::Release() {
  if (unlink(file_.c_str()) != 0) return;
  if (held_.exchange(false)) LOG_EVENT(kWarning, "store_reserve_released").Str("file", file_);
}

}  // namespace posthouse::store
