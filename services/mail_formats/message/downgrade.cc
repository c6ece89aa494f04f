#include "services/mail_formats/message/downgrade.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/header_downgrade.h"

namespace posthouse::message {
namespace {

using Mode = TransferEncoder::Mode;

constexpr uint64_t kShortText = 1024;  // quoted-printable whatever is in it

uint64_t CountEightBit(absl::string_view bytes) {
  return static_cast<uint64_t>(
      std::count_if(bytes.begin(), bytes.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }));
}

bool HasType(const Part& part, absl::string_view type) { return absl::EqualsIgnoreCase(part.type.type, type); }

bool HasSubtype(const Part& part, absl::string_view subtype) {
  return absl::EqualsIgnoreCase(part.type.subtype, subtype);
}

// The value of a Content-Transfer-Encoding that a composite part may have to give up.
bool IsEightBitEncoding(absl::string_view field) {
  const size_t colon = field.find(':');
  const absl::string_view value =
      absl::StripAsciiWhitespace(colon == absl::string_view::npos ? "" : field.substr(colon + 1));
  return absl::EqualsIgnoreCase(value, "8bit") || absl::EqualsIgnoreCase(value, "binary");
}

bool IsField(absl::string_view field, absl::string_view name) {
  return absl::StartsWithIgnoreCase(field, name) &&
         absl::StartsWith(absl::StripLeadingAsciiWhitespace(field.substr(name.size())), ":");
}

// The first field of `header` with its folds.
absl::string_view FirstField(absl::string_view header) {
  size_t end = 0;
  do {
    end = std::min(header.find('\n', end), header.size() - 1) + 1;
  } while (end < header.size() && (header[end] == ' ' || header[end] == '\t'));
  return header.substr(0, end);
}

}  // namespace

// ---- LineScan

void LineScan::Feed(absl::string_view chunk) {
  eight_bit_ |= !IsAscii(chunk);
  while (!chunk.empty()) {
    const size_t end = chunk.find('\n');
    const absl::string_view text = chunk.substr(0, end);
    line_ += text.size();
    if (!text.empty()) cr_ = text.back() == '\r';
    if (end == absl::string_view::npos) {
      longest_ = std::max(longest_, line_ - (cr_ ? 1 : 0));
      return;
    }
    longest_ = std::max(longest_, line_ - (cr_ ? 1 : 0));
    line_ = 0;
    cr_ = false;
    chunk.remove_prefix(end + 1);
  }
}

// ---- DowngradePlan

DowngradePlan::DowngradePlan(const Message& message, bool eight_bit_allowed) : eight_bit_allowed_(eight_bit_allowed) {
  for (const Part& part : message.parts) {
    PartPlan plan;
    plan.parent = part.parent;
    plan.composite = part.kind == Part::Kind::kMultipart || part.kind == Part::Kind::kMessage;
    plan.text = HasType(part, "text");
    plan.typed = part.Find("content-type") != nullptr;
    // RFC 2045 §4: in the header of a message only.
    const bool of_message =
        part.parent < 0 || message.parts[static_cast<size_t>(part.parent)].kind == Part::Kind::kMessage;
    plan.version = !of_message || part.Find("mime-version") != nullptr;
    plan.encoding = part.encoding;
    parts_.push_back(std::move(plan));
  }
  if (message.truncated) {
    regions_.push_back({.kind = Kind::kAsIs, .begin = 0, .end = message.bytes, .part = 0});
  } else {
    AddRegions(message);
  }
}

// Parts come in the order of their headers, and so do the regions.
void DowngradePlan::AddRegions(const Message& message) {
  uint64_t at = 0;
  const auto add = [&](Kind kind, uint64_t begin, uint64_t end, int part) {
    if (begin > at) regions_.push_back({.kind = Kind::kBetween, .begin = at, .end = begin});
    if (end > std::max(begin, at))
      regions_.push_back({.kind = kind, .begin = std::max(begin, at), .end = end, .part = part});
    at = std::max(at, end);
  };
  uint64_t fixed_until = 0;
  for (size_t i = 0; i < message.parts.size(); ++i) {
    const Part& part = message.parts[i];
    if (i > 0 && part.header_start < fixed_until) continue;  // below a part that stays
    if (IsFixed(message, part)) {
      add(Kind::kAsIs, part.header_start, part.body_end, static_cast<int>(i));
      fixed_until = part.body_end;
      continue;
    }
    add(Kind::kHeader, part.header_start, part.body_start, static_cast<int>(i));
    if (!parts_[i].composite) add(Kind::kBody, part.body_start, part.body_end, static_cast<int>(i));
  }
  add(Kind::kBetween, message.bytes, message.bytes, -1);
}

bool DowngradePlan::IsFixed(const Message& message, const Part& part) const {
  if (part.encoding == Encoding::kUnknown) return true;
  if (part.kind == Part::Kind::kMultipart) {
    // RFC 1847 §2.1: a signed part must not be changed on its way.
    if (HasSubtype(part, "signed") || HasSubtype(part, "encrypted")) return true;
    if (!IsAscii(part.type.GetRaw("boundary").value_or(""))) return true;
  }
  const bool composite = part.kind == Part::Kind::kMultipart || part.kind == Part::Kind::kMessage;
  if (composite) return part.encoding != Encoding::kIdentity;
  // RFC 2046 §5.2.2, §5.2.3: other messages are 7bit.
  if (HasType(part, "message")) return true;
  // A multipart that has no boundary is read as text, but may not be encoded.
  const Field* type = part.Find("content-type");
  return type != nullptr && absl::StartsWithIgnoreCase(absl::StripLeadingAsciiWhitespace(type->value), "multipart");
}

void DowngradePlan::Feed(absl::string_view chunk) {
  while (!chunk.empty() && at_ < regions_.size()) {
    Region& region = regions_[at_];
    const absl::string_view bytes = chunk.substr(0, region.end - offset_);
    Look(region, bytes);
    offset_ += bytes.size();
    chunk.remove_prefix(bytes.size());
    if (offset_ == region.end) ++at_;
  }
}

void DowngradePlan::Look(Region& region, absl::string_view bytes) {
  if (region.kind != Kind::kBody && region.kind != Kind::kAsIs) return;
  region.scan.Feed(bytes);
  region.eight_bit_bytes += CountEightBit(bytes);
  PartPlan& part = parts_[static_cast<size_t>(region.part)];
  if (part.typed || !part.utf8) return;
  part.utf8_tail.append(bytes.data(), bytes.size());
  absl::string_view text = part.utf8_tail;
  while (!text.empty()) {
    uint32_t code = 0;
    const int length = Utf8Sequence(text, &code);
    if (length == 0) part.utf8 = false;
    if (length <= 0) break;
    text.remove_prefix(static_cast<size_t>(length));
  }
  part.utf8_tail = std::string(text.substr(0, 4));
}

void DowngradePlan::Finish() {
  for (const Region& region : regions_) Decide(region);
}

void DowngradePlan::Decide(const Region& region) {
  if (region.kind == Kind::kAsIs && region.scan.eight_bit()) {
    for (int i = region.part; i >= 0; i = parts_[static_cast<size_t>(i)].parent) {
      parts_[static_cast<size_t>(i)].eight_bit_stays = true;
    }
  }
  if (region.kind != Kind::kBody || region.scan.FitsInto(eight_bit_allowed_)) return;
  PartPlan& part = parts_[static_cast<size_t>(region.part)];
  switch (part.encoding) {
    case Encoding::kBase64:
      part.encode = Mode::kRepairBase64;
      return;
    case Encoding::kQuotedPrintable:
      part.encode = Mode::kRepairQuotedPrintable;
      return;
    default:
      break;
  }
  // Quoted-printable can be read without a decoder, as long as most bytes stay.
  const uint64_t bytes = region.end - region.begin;
  const bool readable = region.eight_bit_bytes * 2 <= bytes || bytes <= kShortText;
  part.encode = part.text && readable ? Mode::kQuotedPrintable : Mode::kBase64;
}

// ---- Downgrader

void Downgrader::Feed(absl::string_view chunk, std::string* out) {
  while (!chunk.empty() && at_ < plan_.regions_.size()) {
    const Region& region = plan_.regions_[at_];
    if (offset_ == region.begin) StartRegion(region);
    const absl::string_view bytes = chunk.substr(0, region.end - offset_);
    Piece(region, bytes, out);
    offset_ += bytes.size();
    chunk.remove_prefix(bytes.size());
    if (offset_ < region.end) return;
    EndRegion(region, out);
    ++at_;
  }
}

void Downgrader::Finish(std::string* out) {
  // Only if the message was shorter than the planned one.
  if (at_ < plan_.regions_.size() && offset_ > plan_.regions_[at_].begin) EndRegion(plan_.regions_[at_], out);
}

void Downgrader::StartRegion(const Region& region) {
  column_ = 0;
  dashes_ = 0;
  encoder_.reset();
  if (region.kind != DowngradePlan::Kind::kBody) return;
  const auto& encode = plan_.parts_[static_cast<size_t>(region.part)].encode;
  if (encode.has_value()) encoder_.emplace(*encode);
}

void Downgrader::Piece(const Region& region, absl::string_view bytes, std::string* out) {
  switch (region.kind) {
    case DowngradePlan::Kind::kHeader:
      header_.append(bytes.data(), bytes.size());
      return;
    case DowngradePlan::Kind::kBetween:
      return Between(bytes, out);
    case DowngradePlan::Kind::kBody:
      if (encoder_.has_value()) return encoder_->Feed(bytes, out);
      break;
    case DowngradePlan::Kind::kAsIs:
      break;
  }
  out->append(bytes.data(), bytes.size());
}

void Downgrader::EndRegion(const Region& region, std::string* out) {
  if (region.kind == DowngradePlan::Kind::kHeader) {
    absl::StrAppend(out, Header(plan_.parts_[static_cast<size_t>(region.part)], header_));
    header_.clear();
  }
  if (encoder_.has_value()) encoder_->Finish(out);
  encoder_.reset();
}

void Downgrader::Between(absl::string_view bytes, std::string* out) {
  for (char c : bytes) {
    if (c == '\n') {
      column_ = 0;
      dashes_ = 0;
      out->push_back(c);
      continue;
    }
    const bool delimiter = dashes_ == 2;
    if (!delimiter && !plan_.eight_bit_allowed_ && static_cast<unsigned char>(c) >= 0x80) c = '?';
    if (!delimiter && column_ >= kMaxLineBytes && c != '\r') {
      out->append("\r\n ");  // the blank: no line begins like a delimiter
      column_ = 1;
    }
    if (column_ < 2 && c == '-') ++dashes_;
    ++column_;
    out->push_back(c);
  }
}

std::string Downgrader::Header(const DowngradePlan::PartPlan& part, absl::string_view header) const {
  LineScan scan;
  scan.Feed(header);
  absl::string_view encoding;
  if (part.encode == Mode::kQuotedPrintable) encoding = "quoted-printable";
  if (part.encode == Mode::kBase64) encoding = "base64";
  const bool lower = part.composite && !plan_.eight_bit_allowed_ && !part.eight_bit_stays;
  if (encoding.empty() && !lower && scan.FitsInto(plan_.eight_bit_allowed_)) return std::string(header);
  std::string out;
  while (!header.empty() && header[0] != '\r' && header[0] != '\n') {
    const absl::string_view field = FirstField(header);
    header.remove_prefix(field.size());
    if (IsField(field, "content-transfer-encoding")) {
      if (!encoding.empty()) continue;
      // RFC 2045 §6.2: a composite part has the encoding that its parts need.
      if (lower && IsEightBitEncoding(field)) {
        out += "Content-Transfer-Encoding: 7bit\r\n";
        continue;
      }
    }
    const std::string ascii = plan_.eight_bit_allowed_ || IsAscii(field) ? std::string(field) : EncodeField(field);
    out += FoldField(ascii, kMaxLineBytes, kMaxLineBytes);
    // A header that ends with the message may lack its line end.
    if (!encoding.empty() && !absl::EndsWith(out, "\n")) out += "\r\n";
  }
  if (!encoding.empty()) {
    if (!part.version) out += "MIME-Version: 1.0\r\n";
    if (!part.typed) {
      // RFC 1428: a charset that no field names.
      absl::StrAppend(&out, "Content-Type: text/plain; charset=", part.utf8 ? "utf-8" : "unknown-8bit", "\r\n");
    }
    absl::StrAppend(&out, "Content-Transfer-Encoding: ", encoding, "\r\n");
  }
  return absl::StrCat(out, header);
}

}  // namespace posthouse::message
