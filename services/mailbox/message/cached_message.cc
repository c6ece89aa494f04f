#include "services/mailbox/message/cached_message.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/mail_formats/message/parser.h"
#include "services/mail_formats/message/summary.h"
#include "services/mailbox/rows/folder_index.h"

namespace posthouse::mailbox {
namespace {

constexpr size_t kMaxFieldsBytes = 16 * 1024;  // more is rare, and then the header is read

}  // namespace

CachedMessage BuildCachedMessage(const message::Message& message, absl::string_view head, const ObjectId& blob) {
  message::Summary summary = message::Summarise(message);
  CachedMessage out;
  out.check = CheckOfBlob(blob);
  out.envelope = std::move(summary.envelope);
  out.preview = std::move(summary.preview);
  out.body_structure = std::move(summary.body_structure);
  out.body = std::move(summary.body);
  out.part_table = std::move(summary.part_table);
  out.thread_id = std::move(summary.thread_id);
  if (summary.date.has_value()) out.sent_day = summary.date->WrittenDay();
  const message::Part& root = message.root();
  out.fields_complete = !message.truncated;
  for (const message::Field& field : root.fields) {
    if (!IsCachedField(field.name)) continue;
    if (field.offset + field.bytes > head.size() || out.fields.size() + field.bytes > kMaxFieldsBytes) {
      out.fields_complete = false;
      break;
    }
    absl::StrAppend(&out.fields, head.substr(field.offset, field.bytes));
  }
  absl::StrAppend(&out.fields, "\r\n");
  return out;
}

}  // namespace posthouse::mailbox
