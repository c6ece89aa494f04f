// Any bytes: no crash, and a header never claims more bytes than there are.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "services/common/net/proxy_protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto header = posthouse::net::ParseProxyHeader(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (header.ok() && (header->header_bytes > size || header->header_bytes > posthouse::net::kMaxProxyHeader))
    std::abort();
  return 0;
}
