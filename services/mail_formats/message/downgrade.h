// Downgrade: rewrites a message on its way to a host that takes less than the message
// needs: no 8-bit bytes (a host without 8BITMIME, RFC 6152 §3), no lines over 998 bytes
// (RFC 5322 §2.1.1).
//
//   LineScan scan;            feed the message
//   if (scan.FitsInto(...)) -> send it as it is
//   Parser parser;            feed the message again
//   DowngradePlan plan(parser.Finish(), eight_bit_allowed);   feed it again, Finish()
//   Downgrader d(plan);       feed it again: its output is the message to send
//
// So the message is read several times, and nothing but its structure is kept (the limits
// of Parser). The same bytes must come each time.
//
//   body of a text part           quoted-printable, or base64 when most of it is 8-bit
//   body of another part          base64
//   an encoded body with 8-bit bytes or long lines     the same encoding, written properly
//   header fields with 8-bit bytes                     RFC 2047, RFC 2231 (header_downgrade.h)
//   header lines that are too long                     folded
//   text before, between and after parts               "?" for 8-bit bytes, lines cut
//   message/rfc822                                     the message in it, in the same way
//   multipart/signed, other message/*, an encoding that is not known, a message beyond the
//   limits of Parser              as they are: a change would break them (RFC 1847 §2.1,
//                                 RFC 2046 §5.2). They are sent as they are, as many
//                                 hosts do: most others take them, and a bounce helps nobody
//
// Threads: one at a time; a finished plan may have several Downgraders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/mail_formats/message/parser.h"
#include "services/mail_formats/message/transfer_encoder.h"

namespace posthouse::message {

inline constexpr size_t kMaxLineBytes = 998;  // RFC 5322 §2.1.1, without the CRLF

// What a host must be able to take for a message.
class LineScan {
 public:
  void Feed(absl::string_view chunk);
  bool eight_bit() const { return eight_bit_; }
  bool long_lines() const { return longest_ > kMaxLineBytes; }
  bool FitsInto(bool eight_bit_allowed) const { return !long_lines() && (eight_bit_allowed || !eight_bit_); }

 private:
  bool eight_bit_ = false;
  bool cr_ = false;  // the last byte was a CR
  size_t line_ = 0;  // bytes of the line so far, with its CR
  size_t longest_ = 0;
};

class DowngradePlan {
 public:
  DowngradePlan(const Message& message, bool eight_bit_allowed);
  void Feed(absl::string_view chunk);
  void Finish();

 private:
  friend class Downgrader;
  enum class Kind : uint8_t { kHeader, kBody, kBetween, kAsIs };
  // A range of the message; they cover it without gaps.
  struct Region {
    Kind kind = Kind::kBetween;
    uint64_t begin = 0, end = 0;
    int part = -1;
    // Of kBody and kAsIs, once they were read.
    LineScan scan;
    uint64_t eight_bit_bytes = 0;
  };
  struct PartPlan {
    int parent = -1;
    bool composite = false;  // multipart, message/rfc822: may not be encoded (RFC 2045 §6.4)
    bool text = false;
    bool typed = false;    // has a Content-Type
    bool version = false;  // has a MIME-Version, or needs none
    Encoding encoding = Encoding::kIdentity;
    std::optional<TransferEncoder::Mode> encode;
    bool eight_bit_stays = false;  // in a part below that cannot be changed
    bool utf8 = true;              // of a body without a type, so far
    std::string utf8_tail;
  };
  void AddRegions(const Message& message);
  bool IsFixed(const Message& message, const Part& part) const;
  void Look(Region& region, absl::string_view bytes);
  void Decide(const Region& region);

  std::vector<Region> regions_;
  std::vector<PartPlan> parts_;
  const bool eight_bit_allowed_;
  size_t at_ = 0;  // region that Feed() is in
  uint64_t offset_ = 0;
};

class Downgrader {
 public:
  // `plan` is finished, and outlives this.
  explicit Downgrader(const DowngradePlan& plan) : plan_(plan) {}
  void Feed(absl::string_view chunk, std::string* out);
  void Finish(std::string* out);

 private:
  using Region = DowngradePlan::Region;
  void Piece(const Region& region, absl::string_view bytes, std::string* out);
  void EndRegion(const Region& region, std::string* out);
  void StartRegion(const Region& region);
  void Between(absl::string_view bytes, std::string* out);
  std::string Header(const DowngradePlan::PartPlan& part, absl::string_view header) const;

  const DowngradePlan& plan_;
  size_t at_ = 0;
  uint64_t offset_ = 0;
  std::string header_;  // of the part whose header is being read
  std::optional<TransferEncoder> encoder_;
  size_t column_ = 0;  // kBetween: in the line
  int dashes_ = 0;     // kBetween: at the line's start; two of them: it may be a delimiter
};

}  // namespace posthouse::message
