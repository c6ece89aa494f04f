#include "services/mail_formats/message/summary.h"

#include <openssl/sha.h>

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/base_subject.h"
#include "services/mail_formats/message/charset.h"
#include "services/mail_formats/message/fields.h"
#include "services/mail_formats/message/imap_render.h"
#include "services/mail_formats/message/part_table.h"
#include "services/mail_formats/message/transfer.h"

namespace posthouse::message {
namespace {

constexpr size_t kPreviewCharacters = 200;  // RFC 8970 §3.1

// Tags, comments, scripts and styles go; the commonest entities are read.
class HtmlText {
 public:
  explicit HtmlText(absl::string_view html) : html_(html) {}

  std::string Read() {
    while (pos_ < html_.size()) {
      if (html_[pos_] == '<') {
        Tag();
      } else if (html_[pos_] == '&') {
        Entity();
      } else {
        out_.push_back(html_[pos_++]);
      }
    }
    return std::move(out_);
  }

 private:
  void SkipTo(absl::string_view end) {
    const size_t at = html_.find(end, pos_);
    pos_ = at == absl::string_view::npos ? html_.size() : at + end.size();
  }
  void Tag() {
    const absl::string_view rest = html_.substr(pos_, 16);
    if (absl::StartsWith(rest, "<!--")) return SkipTo("-->");
    for (const absl::string_view name : {"style", "script", "head", "title"}) {
      if (!absl::StartsWithIgnoreCase(rest.substr(1), name) || rest.size() <= name.size() + 1) continue;
      const char after = rest[name.size() + 1];
      if (after != '>' && after != ' ' && after != '\r' && after != '\n') continue;
      SkipElement(name);
      out_.push_back(' ');
      return;
    }
    SkipTo(">");
    out_.push_back(' ');
  }
  // To behind "</name>", any case.
  void SkipElement(absl::string_view name) {
    while (pos_ < html_.size()) {
      SkipTo("</");
      if (absl::StartsWithIgnoreCase(html_.substr(pos_, name.size()), name)) break;
    }
    SkipTo(">");
  }
  void Entity() {
    static constexpr std::array<std::pair<absl::string_view, absl::string_view>, 8> kEntities = {{{"&amp;", "&"},
                                                                                                  {"&lt;", "<"},
                                                                                                  {"&gt;", ">"},
                                                                                                  {"&quot;", "\""},
                                                                                                  {"&apos;", "'"},
                                                                                                  {"&nbsp;", " "},
                                                                                                  {"&zwnj;", ""},
                                                                                                  {"&shy;", ""}}};
    for (const auto& [name, text] : kEntities) {
      if (absl::StartsWith(html_.substr(pos_, 8), name)) {
        out_.append(text.data(), text.size());
        pos_ += name.size();
        return;
      }
    }
    if (!Numeric()) out_.push_back(html_[pos_++]);
  }
  // "&#8217;" and "&#x2019;"
  bool Numeric() {
    const absl::string_view rest = html_.substr(pos_, 12);
    const size_t end = rest.find(';');
    if (!absl::StartsWith(rest, "&#") || end == absl::string_view::npos || end < 3) return false;
    const bool hex = rest[2] == 'x' || rest[2] == 'X';
    uint32_t code = 0;
    for (size_t i = hex ? 3 : 2; i < end; ++i) {
      const unsigned char c = static_cast<unsigned char>(rest[i]);
      if (!(hex ? absl::ascii_isxdigit(c) : absl::ascii_isdigit(c))) return false;
      const uint32_t digit =
          absl::ascii_isdigit(c) ? c - '0' : static_cast<uint32_t>(absl::ascii_tolower(c) - 'a') + 10;
      code = code * (hex ? 16 : 10) + digit;
    }
    AppendUtf8(code, &out_);
    pos_ += end + 1;
    return true;
  }

  const absl::string_view html_;
  size_t pos_ = 0;
  std::string out_;
};

size_t CountCharacters(absl::string_view utf8) {
  size_t count = 0;
  for (size_t pos = 0; pos < utf8.size(); ++count) NextCodePoint(utf8, &pos);
  return count;
}

// Blanks and control characters as one blank; at most 200 characters.
std::string Collapse(absl::string_view utf8) {
  std::string out;
  size_t characters = 0;
  bool blank = false;
  for (size_t pos = 0; pos < utf8.size() && characters < kPreviewCharacters;) {
    const uint32_t c = NextCodePoint(utf8, &pos);
    if (c <= 0x20 || c == 0x7f || c == 0xa0 || (c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029) {
      blank = !out.empty();
      continue;
    }
    if (c == 0xFEFF || (c >= 0x200B && c <= 0x200F)) continue;  // shows nothing
    if (blank) {
      out.push_back(' ');
      ++characters;
      blank = false;
      if (characters == kPreviewCharacters) break;
    }
    AppendUtf8(c, &out);
    ++characters;
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

// The part of the sample that nearly always has 200 characters of plain text.
constexpr size_t kFirstSlice = 2048;

std::string SampleText(const Message& message, const Message::Sample& sample, bool html) {
  if (sample.part < 0) return "";
  const Part& part = message.parts[static_cast<size_t>(sample.part)];
  const std::string charset = part.type.GetRaw("charset").value_or("");
  const auto text_of = [&](absl::string_view bytes) { return ToUtf8(charset, DecodeTransfer(part.encoding, bytes)); };
  if (html) return Collapse(HtmlText(text_of(sample.bytes)).Read());
  std::string text = Collapse(text_of(absl::string_view(sample.bytes).substr(0, kFirstSlice)));
  // A cut character shows at the end only, so a text of full length is not touched by it.
  if (sample.bytes.size() <= kFirstSlice || text.size() >= 4 * kPreviewCharacters) return text;
  return CountCharacters(text) < kPreviewCharacters ? Collapse(text_of(sample.bytes)) : text;
}

std::string FirstId(const Part& root, absl::string_view field_name) {
  const Field* field = root.Find(field_name);
  if (field == nullptr) return "";
  const std::vector<std::string> ids = ParseMessageIds(field->value, 1);
  return ids.empty() ? "" : ids[0];
}

}  // namespace

std::string Preview(const Message& message) {
  std::string text = SampleText(message, message.plain, false);
  return text.empty() ? SampleText(message, message.html, true) : text;
}

std::string ThreadId(const Part& root) {
  std::string id = FirstId(root, "References");
  if (id.empty()) id = FirstId(root, "In-Reply-To");
  if (id.empty()) id = FirstId(root, "Message-ID");
  if (id.empty()) return "";
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(id.data()), id.size(), digest);
  // 95 bits as 19 characters; RFC 8474 §7 allows letters and digits.
  static constexpr char kBase32[] = "abcdefghijklmnopqrstuvwxyz234567";
  std::string out = "T";
  for (size_t bit = 0; bit < 95; bit += 5) {
    const size_t byte = bit / 8;
    const uint32_t two = static_cast<uint32_t>(digest[byte]) << 8 | digest[byte + 1];
    out.push_back(kBase32[(two >> (11 - bit % 8)) & 31]);
  }
  return out;
}

Summary Summarise(const Message& message) {
  const Part& root = message.root();
  Summary summary;
  summary.envelope = RenderEnvelope(root);
  summary.body_structure = RenderBodyStructure(message);
  summary.body = RenderBody(message);
  summary.part_table = PartTable::Build(message).Serialize();
  summary.preview = Preview(message);
  summary.message_id = FirstId(root, "Message-ID");
  summary.thread_id = ThreadId(root);
  if (const Field* subject = root.Find("Subject")) summary.base_subject = BaseSubject(subject->value);
  if (const Field* date = root.Find("Date")) summary.date = ParseDate(date->value);
  return summary;
}

}  // namespace posthouse::message
