#include "services/common/ids/ids.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/escaping.h"
#include "services/common/status/status.h"

namespace posthouse {
namespace {

constexpr absl::string_view kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr int64_t kMaxMillis = (int64_t{1} << 48) - 1;
constexpr size_t kTimeBytes = 6;

}  // namespace

std::string RandomBytes(size_t n) {
  std::string bytes(n, '\0');
  size_t have = 0;
  while (have < n) {
    const ssize_t got = getrandom(bytes.data() + have, n - have, 0);
    PH_CHECK(got > 0 || errno == EINTR);
    if (got > 0) have += static_cast<size_t>(got);
  }
  return bytes;
}

ObjectId ObjectId::FirstAt(int64_t unix_millis) {
  ObjectId id;
  const auto millis = static_cast<uint64_t>(std::clamp<int64_t>(unix_millis, 0, kMaxMillis));
  for (size_t i = 0; i < kTimeBytes; ++i) id.bytes_[i] = static_cast<unsigned char>(millis >> (40 - 8 * i));
  return id;
}

ObjectId ObjectId::New(int64_t unix_millis) {
  ObjectId id = FirstAt(unix_millis);
  const std::string random = RandomBytes(kBytes - kTimeBytes);
  std::copy(random.begin(), random.end(), id.bytes_.begin() + kTimeBytes);
  return id;
}

std::optional<ObjectId> ObjectId::FromBytes(absl::string_view bytes) {
  if (bytes.size() != kBytes) return std::nullopt;
  ObjectId id;
  std::copy(bytes.begin(), bytes.end(), id.bytes_.begin());
  return id;
}

std::optional<ObjectId> ObjectId::FromText(absl::string_view text) {
  // 26 characters hold 130 bits; the first two of them are 0.
  if (text.size() != kTextBytes || text[0] > '7') return std::nullopt;
  ObjectId id;
  uint32_t bits = 0;
  int have = -2;
  size_t at = 0;
  for (const char c : text) {
    const size_t digit = kAlphabet.find(c);
    if (digit == absl::string_view::npos) return std::nullopt;
    bits = (bits << 5) | static_cast<uint32_t>(digit);
    have += 5;
    if (have < 8) continue;
    have -= 8;
    id.bytes_[at++] = static_cast<unsigned char>(bits >> have);
  }
  return id;
}

std::optional<ObjectId> ObjectId::FromHex(absl::string_view hex) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (hex.size() != kHexBytes || !std::all_of(hex.begin(), hex.end(), is_digit)) return std::nullopt;
  return FromBytes(absl::HexStringToBytes(hex));
}

std::string ObjectId::Text() const {
  std::string text;
  text.reserve(kTextBytes);
  uint32_t bits = 0;
  int have = 2;  // the two leading zeros of 130 bits
  for (const unsigned char byte : bytes_) {
    bits = (bits << 8) | byte;
    for (have += 8; have >= 5; have -= 5) text.push_back(kAlphabet[(bits >> (have - 5)) & 31]);
  }
  return text;
}

std::string ObjectId::Hex() const {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes_.data()), kBytes));
}

int64_t ObjectId::unix_millis() const {
  int64_t millis = 0;
  for (size_t i = 0; i < kTimeBytes; ++i) millis = (millis << 8) | bytes_[i];
  return millis;
}

}  // namespace posthouse
