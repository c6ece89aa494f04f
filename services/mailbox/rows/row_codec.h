// Rows as stored: a protobuf, or a plain name, behind the schema tag of key_schema.h.
//
// Errors: kDataLoss when a row has another tag (a newer version wrote it) or does not parse.
// Threads: everything here is stateless.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {

template <typename Proto>
std::string EncodeRow(const Proto& value) {
  std::string out(1, kSchemaTag);
  value.AppendToString(&out);
  return out;
}

template <typename Proto>
absl::StatusOr<Proto> DecodeRow(absl::string_view row) {
  Proto value;
  if (row.empty() || row[0] != kSchemaTag || !value.ParseFromArray(row.data() + 1, static_cast<int>(row.size()) - 1)) {
    return absl::DataLossError("a row does not parse as " + value.GetTypeName());
  }
  return value;
}

// Names are stored as they are, behind the tag.
inline std::string EncodeText(absl::string_view text) { return std::string(1, kSchemaTag) + std::string(text); }
inline absl::StatusOr<std::string> DecodeText(absl::string_view row) {
  if (row.empty() || row[0] != kSchemaTag) return absl::DataLossError("a text row has another schema tag");
  return std::string(row.substr(1));
}

}  // namespace posthouse::mailbox
