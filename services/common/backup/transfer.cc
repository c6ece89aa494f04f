#include "services/common/backup/transfer.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/durable_file/durable_file.h"
#include "services/common/status/status.h"
#include "services/common/time/calm_clock.h"

namespace posthouse::backup {
namespace {

constexpr size_t kPiece = size_t{1} << 20;

absl::Status Errno(absl::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(what, " ", path));
}

}  // namespace

Transfer::Transfer(TransferOptions options) : options_(std::move(options)) {}

absl::Status Transfer::Pace(uint64_t bytes) {
  constexpr absl::Duration kNap = absl::Milliseconds(50);
  if (options_.progress) options_.progress(bytes);
  if (options_.max_bytes_per_second != 0) {
    // An unused allowance is lost: a limit is no average.
    free_at_ = std::max(free_at_, MonotonicNow()) +
               absl::Seconds(static_cast<double>(bytes) / static_cast<double>(options_.max_bytes_per_second));
  }
  while (true) {
    if (options_.stop) PH_RETURN_IF_ERROR(options_.stop());
    const absl::Duration wait = free_at_ - MonotonicNow();
    if (wait <= absl::ZeroDuration()) return absl::OkStatus();
    absl::SleepFor(std::min(wait, kNap));
  }
}

absl::StatusOr<Digest> Transfer::Run(const std::string& from, int to, const std::string& to_name) {
  const int fd = open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Errno("opening", from);
  const absl::Cleanup close_from = [fd] { close(fd); };
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (hash == nullptr || EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) != 1) {
    return absl::InternalError("SHA-256 is not available");
  }
  Digest digest;
  std::vector<char> piece(kPiece);
  while (true) {
    const ssize_t got = read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Errno("reading", from);
    if (got == 0) break;
    const auto size = static_cast<size_t>(got);
    EVP_DigestUpdate(hash.get(), piece.data(), size);
    if (to >= 0) PH_RETURN_IF_ERROR(WriteAll(to, {piece.data(), size}, to_name));
    digest.size_bytes += size;
    PH_RETURN_IF_ERROR(Pace(size));
  }
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(hash.get(), bytes, &length);
  digest.sha256 = absl::BytesToHexString({reinterpret_cast<const char*>(bytes), length});
  return digest;
}

absl::StatusOr<Digest> Transfer::Read(const std::string& from) { return Run(from, -1, ""); }

absl::StatusOr<Digest> Transfer::Copy(const std::string& from, const std::string& to) {
  const int fd = open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Errno("creating", to);
  absl::StatusOr<Digest> digest = Run(from, fd, to);
  if (digest.ok() && fsync(fd) != 0) digest = Errno("syncing", to);
  // The copy is not read again soon: the page cache is for the store.
  (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  if (close(fd) != 0 && digest.ok()) digest = Errno("closing", to);
  if (!digest.ok()) unlink(to.c_str());
  return digest;
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Errno("opening", path);
  const absl::Cleanup close_it = [fd] { close(fd); };
  std::string content;
  std::vector<char> piece(kPiece);
  while (true) {
    const ssize_t got = read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Errno("reading", path);
    if (got == 0) return content;
    content.append(piece.data(), static_cast<size_t>(got));
  }
}

}  // namespace posthouse::backup
