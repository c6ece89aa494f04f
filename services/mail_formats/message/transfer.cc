#include "services/mail_formats/message/transfer.h"

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "services/mail_formats/message/chars.h"

namespace posthouse::message {
namespace {

// Blanks held back at the end of a quoted-printable line; more are let through.
constexpr size_t kMaxHeldBlanks = 1024;

constexpr std::array<int8_t, 256> MakeBase64Table() {
  std::array<int8_t, 256> table{};
  for (auto& v : table) v = -1;
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (int i = 0; i < 64; ++i) table[static_cast<uint8_t>(kAlphabet[i])] = static_cast<int8_t>(i);
  return table;
}
constexpr std::array<int8_t, 256> kBase64 = MakeBase64Table();

}  // namespace

Encoding ParseEncoding(absl::string_view value) {
  // The first word that is no comment.
  std::string word;
  int depth = 0;
  for (const char c : value) {
    if (c == '(') {
      ++depth;
    } else if (c == ')' && depth > 0) {
      --depth;
    } else if (depth == 0) {
      if (absl::ascii_isspace(static_cast<unsigned char>(c)) || c == ';') {
        if (!word.empty()) break;
      } else if (c != '"') {
        word.push_back(c);
      }
    }
    if (word.size() > 64) break;
  }
  if (absl::EqualsIgnoreCase(word, "base64")) return Encoding::kBase64;
  if (absl::EqualsIgnoreCase(word, "quoted-printable")) return Encoding::kQuotedPrintable;
  if (word.empty() || absl::EqualsIgnoreCase(word, "7bit") || absl::EqualsIgnoreCase(word, "8bit") ||
      absl::EqualsIgnoreCase(word, "binary")) {
    return Encoding::kIdentity;
  }
  return Encoding::kUnknown;
}

void TransferDecoder::Feed(absl::string_view chunk, std::string* out) {
  switch (encoding_) {
    case Encoding::kBase64:
      return Base64(chunk, out);
    case Encoding::kQuotedPrintable:
      return QuotedPrintable(chunk, out);
    case Encoding::kIdentity:
    case Encoding::kUnknown:
      out->append(chunk.data(), chunk.size());
      return;
  }
}

void TransferDecoder::Base64(absl::string_view chunk, std::string* out) {
  out->reserve(out->size() + chunk.size() / 4 * 3 + 3);
  for (const char c : chunk) {
    const int v = kBase64[static_cast<uint8_t>(c)];  // NOLINT(bugprone-signed-char-misuse): small numbers, -1
    if (v < 0) {
      // Padding ends a quantum; another may follow (concatenated encodings). All
      // else is ignored (RFC 2045 §6.8).
      if (c == '=') bit_count_ = 0;
      continue;
    }
    bits_ = (bits_ << 6) | static_cast<uint32_t>(v);
    bit_count_ += 6;
    if (bit_count_ >= 8) {
      bit_count_ -= 8;
      out->push_back(static_cast<char>((bits_ >> bit_count_) & 0xff));
    }
  }
}

void TransferDecoder::QuotedPrintable(absl::string_view chunk, std::string* out) {
  out->reserve(out->size() + chunk.size());
  for (const char c : chunk) QuotedPrintableByte(c, out);
}

// `pending_` is empty, a run of blanks, "=", "=X", "= " (blanks after "=") or "=\r".
void TransferDecoder::QuotedPrintableByte(char c, std::string* out) {
  if (pending_.empty()) {
    if (c == '=' || IsBlank(c)) {
      pending_.push_back(c);
    } else {
      out->push_back(c);
    }
    return;
  }
  if (pending_[0] != '=') {  // blanks: they count only when text follows (RFC 2045 §6.7 (3))
    if (IsBlank(c) && pending_.size() < kMaxHeldBlanks) {
      pending_.push_back(c);
      return;
    }
    if (c != '\r' && c != '\n') out->append(pending_);
    pending_.clear();
    return QuotedPrintableByte(c, out);
  }
  if (c == '\n') {  // soft line break
    pending_.clear();
    return;
  }
  if (pending_.size() == 1) {
    // RFC 2045 §6.7 (1): lower case is tolerated.
    if (HexValue(c) >= 0 || c == '\r' || IsBlank(c)) {
      pending_.push_back(c);
      return;
    }
  } else if (HexValue(pending_[1]) >= 0) {
    if (HexValue(c) >= 0) {
      out->push_back(static_cast<char>(HexValue(pending_[1]) * 16 + HexValue(c)));
      pending_.clear();
      return;
    }
  } else if (IsBlank(pending_[1])) {
    if (IsBlank(c)) return;
    if (c == '\r') {
      pending_ = "=\r";
      return;
    }
  } else {  // "=\r" and no "\n"
    pending_.clear();
    return QuotedPrintableByte(c, out);
  }
  // Not an escape: as it is (RFC 2045 §6.7, "robust implementations").
  out->append(pending_);
  pending_.clear();
  QuotedPrintableByte(c, out);
}

void TransferDecoder::Finish(std::string* out) {
  if (pending_.size() == 2 && HexValue(pending_[1]) >= 0) out->append(pending_);
  pending_.clear();
  bit_count_ = 0;
}

std::string DecodeTransfer(Encoding encoding, absl::string_view bytes) {
  std::string out;
  TransferDecoder decoder(encoding);
  decoder.Feed(bytes, &out);
  decoder.Finish(&out);
  return out;
}

std::string DecodeBase64(absl::string_view bytes) { return DecodeTransfer(Encoding::kBase64, bytes); }

}  // namespace posthouse::message
