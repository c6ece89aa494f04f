#include "services/mail_formats/message/transfer_encoder.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace posthouse::message {
namespace {

// RFC 2045 §6.7 (5), §6.8: 76 characters, for quoted-printable with the "=" of a soft break.
constexpr size_t kLine = 76;
constexpr size_t kBase64LineBytes = kLine / 4 * 3;

bool IsHex(char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); }

}  // namespace

void TransferEncoder::Feed(absl::string_view chunk, std::string* out) {
  switch (mode_) {
    case Mode::kQuotedPrintable:
    case Mode::kRepairQuotedPrintable:
      for (const char c : chunk) QuotedPrintable(c, out);
      return;
    case Mode::kBase64:
      while (!chunk.empty()) {
        const absl::string_view piece = chunk.substr(0, kBase64LineBytes - pending_.size());
        pending_.append(piece.data(), piece.size());
        chunk.remove_prefix(piece.size());
        if (pending_.size() < kBase64LineBytes) return;
        Base64Line(absl::Base64Escape(pending_), out);
        pending_.clear();
      }
      return;
    case Mode::kRepairBase64:
      for (const char c : chunk) {
        // RFC 2045 §6.8: characters outside the alphabet are ignored.
        if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '+' && c != '/' && c != '=') continue;
        pending_.push_back(c);
        if (pending_.size() < kLine) continue;
        Base64Line(pending_, out);
        pending_.clear();
      }
      return;
  }
}

void TransferEncoder::Finish(std::string* out) {
  if (mode_ == Mode::kBase64 || mode_ == Mode::kRepairBase64) {
    if (!pending_.empty()) Base64Line(mode_ == Mode::kBase64 ? absl::Base64Escape(pending_) : pending_, out);
    pending_.clear();
    return;
  }
  if (escape_.size() > 1) Put("=3D" + escape_.substr(1), out);
  escape_.clear();
  if (blank_ != '\0' && mode_ == Mode::kQuotedPrintable) Escape(blank_, out);
  blank_ = '\0';
  if (cr_) Escape('\r', out);
  cr_ = false;
}

void TransferEncoder::QuotedPrintable(char c, std::string* out) {
  const bool repair = mode_ == Mode::kRepairQuotedPrintable;
  if (cr_) {
    cr_ = false;
    if (c == '\n') return EndLine(out);
    Escape('\r', out);
  }
  if (!escape_.empty()) {
    if (IsHex(c)) {
      escape_.push_back(c);
      if (escape_.size() == 3) {
        Put(escape_, out);
        escape_.clear();
      }
      return;
    }
    if (escape_ == "=" && (c == '\r' || c == ' ' || c == '\t')) {  // a soft break, blanks may follow
      cr_ = false;
      return;
    }
    if (escape_ == "=" && c == '\n') return EndLine(out);
    // No escape after all: a decoder shows it as it is.
    const std::string shown = "3D" + escape_.substr(1);
    escape_.clear();
    Put("=" + shown, out);
  }
  if (c == '\n') return EndLine(out);
  const bool blank = c == ' ' || c == '\t';
  if (c != '\r' && blank_ != '\0') {
    const char held = blank_;
    blank_ = '\0';
    Put(absl::string_view(&held, 1), out);
  }
  if (c == '\r') {
    cr_ = true;
  } else if (blank) {
    blank_ = c;
  } else if (repair && c == '=') {
    escape_ = "=";
  } else if (c > 0x20 && c < 0x7f && c != '=') {
    Put(absl::string_view(&c, 1), out);
  } else {
    Escape(c, out);
  }
}

void TransferEncoder::Put(absl::string_view token, std::string* out) {
  if (column_ + token.size() > kLine - 1) {
    out->append("=\r\n");
    column_ = 0;
    // No line may begin like a delimiter that was inside a line.
    if (token == "-") token = "=2D";
  }
  out->append(token.data(), token.size());
  column_ += token.size();
}

void TransferEncoder::Escape(char c, std::string* out) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  const auto u = static_cast<unsigned char>(c);
  const char token[3] = {'=', kHex[u >> 4], kHex[u & 15]};
  // A blank before a bare CR is no blank at the end of a line.
  if (blank_ != '\0' && c == '\r') {
    const char held = blank_;
    blank_ = '\0';
    Put(absl::string_view(&held, 1), out);
  }
  Put(absl::string_view(token, 3), out);
}

void TransferEncoder::EndLine(std::string* out) {
  // In quoted-printable input, blanks at the end of a line are no part of the text.
  if (blank_ != '\0' && mode_ == Mode::kQuotedPrintable) Escape(blank_, out);
  blank_ = '\0';
  if (escape_ == "=") out->push_back('=');
  escape_.clear();
  out->append("\r\n");
  column_ = 0;
}

void TransferEncoder::Base64Line(absl::string_view encoded, std::string* out) {
  absl::StrAppend(out, first_line_ ? "" : "\r\n", encoded);
  first_line_ = false;
}

std::string EncodeQuotedPrintable(absl::string_view text) {
  std::string out;
  TransferEncoder encoder(TransferEncoder::Mode::kQuotedPrintable);
  encoder.Feed(text, &out);
  encoder.Finish(&out);
  return out;
}

}  // namespace posthouse::message
