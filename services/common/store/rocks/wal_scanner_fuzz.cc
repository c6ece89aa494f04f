// Any bytes: no crash, and nothing is claimed of a log without an intact record.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/string_view.h"
#include "services/common/store/rocks/wal_scanner.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using posthouse::store::WalScanner;
  const absl::string_view log(reinterpret_cast<const char*>(data), size);
  WalScanner scanner;
  for (size_t at = 0; at < size; at += WalScanner::kBlockBytes) scanner.Add(log.substr(at, WalScanner::kBlockBytes));
  const posthouse::store::WalFindings found = scanner.Finish();
  if (found.fault_offset.has_value() && *found.fault_offset >= size) std::abort();
  if (size < 19 && found.last_sequence != 0) std::abort();
  return 0;
}
