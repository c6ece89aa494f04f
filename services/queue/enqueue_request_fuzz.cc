// MessageIdOf() and CheckHeader() on any bytes.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "services/common/status/status.h"
#include "services/queue/enqueue_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string id = posthouse::queue::MessageIdOf(bytes);
  PH_CHECK(id.size() <= 500);
  // It goes into a row and a log line.
  for (const char c : id) PH_CHECK(c >= 0x20 && c < 0x7f);
  // An Enqueue header as a peer may send it is checked before anything is made of it.
  posthouse::queue::v1::EnqueueRequest::Header header;
  if (!header.ParseFromArray(data, static_cast<int>(size)) || !posthouse::queue::CheckHeader(header).ok()) return 0;
  const auto record = posthouse::queue::NewItemRecord(&header, absl::FromUnixSeconds(1700000000), absl::Hours(1));
  PH_CHECK(!record->item.recipients().empty() && record->item.envelope().recipients().empty());
  return 0;
}
