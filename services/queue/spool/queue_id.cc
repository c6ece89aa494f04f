#include "services/queue/spool/queue_id.h"

#include <sys/random.h>

#include <algorithm>
#include <cstdint>

#include "services/common/status/status.h"

namespace posthouse::queue {
namespace {

constexpr absl::string_view kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr size_t kTimeChars = 10;
constexpr size_t kRandomBytes = 10;
constexpr int64_t kMaxMillis = (int64_t{1} << 48) - 1;

void AppendTime(absl::Time time, std::string* out) {
  const int64_t millis = std::clamp<int64_t>(absl::ToUnixMillis(time), 0, kMaxMillis);
  for (int shift = 45; shift >= 0; shift -= 5) out->push_back(kAlphabet[(millis >> shift) & 31]);
}

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

std::string NewQueueId(absl::Time now) { return MakeQueueId(now, RandomBytes(kRandomBytes)); }

std::string MakeQueueId(absl::Time now, absl::string_view random) {
  PH_CHECK(random.size() == kRandomBytes);
  std::string id;
  id.reserve(kQueueIdBytes);
  AppendTime(now, &id);
  uint32_t bits = 0;
  int have = 0;
  for (const char byte : random) {
    bits = (bits << 8) | static_cast<uint8_t>(byte);
    for (have += 8; have >= 5; have -= 5) id.push_back(kAlphabet[(bits >> (have - 5)) & 31]);
  }
  return id;
}

bool IsQueueId(absl::string_view text) {
  return text.size() == kQueueIdBytes && text[0] <= '7' &&
         std::all_of(text.begin(), text.end(), [](char c) { return kAlphabet.find(c) != absl::string_view::npos; });
}

absl::Time TimeOfQueueId(absl::string_view id) {
  PH_CHECK(id.size() == kQueueIdBytes);
  uint64_t millis = 0;
  for (const char c : id.substr(0, kTimeChars)) millis = (millis << 5) | (kAlphabet.find(c) & 31);
  return absl::FromUnixMillis(static_cast<int64_t>(millis));
}

std::string FirstQueueIdAt(absl::Time time) {
  std::string id;
  AppendTime(time, &id);
  id.append(kQueueIdBytes - kTimeChars, '0');
  return id;
}

}  // namespace posthouse::queue
