// Everything that is made of a message's bytes, and what must hold for any bytes.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "services/common/status/status.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/address_list.h"
#include "services/mail_formats/message/charset.h"
#include "services/mail_formats/message/date.h"
#include "services/mail_formats/message/fields.h"
#include "services/mail_formats/message/imap_render.h"
#include "services/mail_formats/message/mime_value.h"
#include "services/mail_formats/message/parser.h"
#include "services/mail_formats/message/part_table.h"
#include "services/mail_formats/message/search.h"
#include "services/mail_formats/message/summary.h"

namespace posthouse::message {
namespace {

// The rendered bytes are one balanced parenthesised list of strings, literals,
// numbers and NIL.
void CheckImapSyntax(absl::string_view s) {
  int depth = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    const char c = s[i];
    if (c == '(') ++depth;
    if (c == ')') --depth;
    PH_CHECK(depth > 0 || i + 1 == s.size());
    if (c == '"') {
      for (++i; i < s.size() && s[i] != '"'; ++i) {
        PH_CHECK(static_cast<unsigned char>(s[i]) >= 0x20 && static_cast<unsigned char>(s[i]) < 0x7f);
        if (s[i] == '\\') ++i;
      }
      PH_CHECK(i < s.size());
    } else if (c == '{') {
      size_t length = 0;
      for (++i; i < s.size() && s[i] != '}'; ++i) length = length * 10 + static_cast<size_t>(s[i] - '0');
      PH_CHECK(s.substr(i, 3) == "}\r\n");
      PH_CHECK(i + 3 + length <= s.size());
      for (const char b : s.substr(i + 3, length)) PH_CHECK(b != '\0' && b != '\r' && b != '\n');
      i += 2 + length;
    }
  }
  PH_CHECK(depth == 0);
}

void CheckTree(const Message& m, uint64_t bytes) {
  PH_CHECK(m.bytes == bytes);
  PH_CHECK(!m.parts.empty() && m.root().body_end == bytes);
  for (size_t i = 0; i < m.parts.size(); ++i) {
    const Part& p = m.parts[i];
    PH_CHECK(p.header_start <= p.body_start && p.body_start <= p.body_end && p.body_end <= bytes);
    if (i > 0) {
      PH_CHECK(p.parent >= 0 && static_cast<size_t>(p.parent) < i);
      const Part& parent = m.parts[static_cast<size_t>(p.parent)];
      PH_CHECK(p.header_start >= parent.body_start && p.body_end <= parent.body_end);
      PH_CHECK(p.header_start >= m.parts[i - 1].header_start);
    }
    PH_CHECK(p.kind != Part::Kind::kMessage || p.children.size() == 1);
    PH_CHECK(p.lines <= p.body_end - p.body_start);
    CheckImapSyntax(RenderEnvelope(p));
  }
}

void Run(absl::string_view bytes) {
  const Message m = Parse(bytes);
  CheckTree(m, bytes.size());
  // Chunks make no difference.
  Parser parser;
  const size_t step = bytes.empty() ? 1 : 1 + static_cast<unsigned char>(bytes[0]) % 13;
  for (size_t i = 0; i < bytes.size(); i += step) parser.Feed(bytes.substr(i, step));
  const PartTable table = PartTable::Build(m);
  const std::string stored = table.Serialize();
  PH_CHECK(PartTable::Build(parser.Finish()).Serialize() == stored);
  PH_CHECK(PartTable::Parse(stored).value().Serialize() == stored);
  const Summary summary = Summarise(m);
  CheckImapSyntax(summary.envelope);
  CheckImapSyntax(summary.body);
  CheckImapSyntax(summary.body_structure);
  PH_CHECK(IsUtf8(summary.preview) && IsUtf8(summary.base_subject));
  for (const uint32_t a : {1, 2}) {
    for (const uint32_t b : {1, 2}) {
      const auto range = table.Resolve({a, b}, SectionKind::kAll);
      PH_CHECK(!range || range->bytes.end <= bytes.size());
    }
  }
  MessageSearch search(table, {{"the", MessageSearch::Where::kText}, {"\xc3\x84", MessageSearch::Where::kBody}});
  for (const ByteRange& range : search.Ranges()) search.Feed(range.begin, bytes.substr(range.begin, range.size()));
  search.Finish();
  HeaderFilter filter({"subject"}, false);
  std::string filtered;
  filter.Feed(bytes, &filtered);
  filter.Finish(&filtered);
  for (const Field& field : m.root().fields) {
    PH_CHECK(IsUtf8(DecodeText(field.value)));
    ParseAddresses(field.value);
    ParseDate(field.value);
    ParseMessageIds(field.value);
    if (const auto type = ParseContentType(field.value)) type->Get("name");
  }
}

}  // namespace
}  // namespace posthouse::message

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  posthouse::message::Run(absl::string_view(reinterpret_cast<const char*>(data), size));
  // Any bytes in place of a stored part table.
  (void)posthouse::message::PartTable::Parse(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
