#include "services/mail_formats/message/search.h"

#include <string.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/address_list.h"
#include "services/mail_formats/message/charset.h"
#include "services/mail_formats/message/fields.h"
#include "services/mail_formats/message/transfer.h"

namespace posthouse::message {
namespace {

struct CaseRange {
  uint32_t first, last, step;
  int32_t difference;
};
constexpr CaseRange kCaseRanges[] = {
#include "services/mail_formats/message/case_fold.inc"
};

// Gaps shorter than this are read with what surrounds them: one read, not two.
constexpr uint64_t kMaxGap = 8 * 1024;
constexpr size_t kMaxHeader = 256 * 1024;
constexpr size_t kSlice = 16 * 1024;

uint32_t FoldCodePoint(uint32_t c) {
  const CaseRange* range = std::upper_bound(std::begin(kCaseRanges), std::end(kCaseRanges), c,
                                            [](uint32_t value, const CaseRange& r) { return value < r.first; });
  if (range == std::begin(kCaseRanges)) return c;
  --range;
  if (c > range->last || (c - range->first) % range->step != 0) return c;
  return static_cast<uint32_t>(static_cast<int32_t>(c) + range->difference);
}

bool IsSpace(uint32_t c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xA0 || c == 0x3000; }

// Folds text that comes in pieces; a run of blanks over a border is one blank.
class CaseFolder {
 public:
  void Feed(absl::string_view utf8, std::string* out) {
    for (size_t pos = 0; pos < utf8.size();) {
      const uint8_t byte = static_cast<uint8_t>(utf8[pos]);
      const uint32_t c = byte < 0x80 ? (++pos, byte) : NextCodePoint(utf8, &pos);
      if (IsSpace(c)) {
        if (!blank_) out->push_back(' ');
        blank_ = true;
        continue;
      }
      blank_ = false;
      if (c < 0x80) {
        out->push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
      } else {
        AppendUtf8(FoldCodePoint(c), out);
      }
    }
  }

 private:
  bool blank_ = false;
};

bool Contains(absl::string_view text, absl::string_view needle) {
  return needle.empty() || memmem(text.data(), text.size(), needle.data(), needle.size()) != nullptr;
}

}  // namespace

std::string FoldCase(absl::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  CaseFolder().Feed(utf8, &out);
  return out;
}

bool FieldContains(absl::string_view raw_value, absl::string_view folded_text) {
  return folded_text.empty() || Contains(FoldCase(DecodeText(raw_value)), folded_text);
}

bool AddressesContain(absl::string_view raw_value, absl::string_view folded_text) {
  const std::vector<Address> addresses = ParseAddresses(raw_value);
  return std::any_of(addresses.begin(), addresses.end(), [&](const Address& address) {
    std::string shown = address.has_name ? DecodeText(address.name) : "";
    if (address.kind == Address::Kind::kMailbox) {
      const std::string spec = absl::StrCat(address.mailbox, "@", address.host);
      shown = shown.empty() ? spec : absl::StrCat(shown, " <", spec, ">");
    } else {
      absl::StrAppend(&shown, address.mailbox);  // of a group, its name
    }
    return Contains(FoldCase(shown), folded_text);
  });
}

class MessageSearch::Impl {
 public:
  Impl(const PartTable& table, const std::vector<Term>& terms) {
    bool headers = false, bodies = false;
    for (const Term& term : terms) {
      Needle needle;
      needle.text = FoldCase(term.text);
      needle.headers = term.where == Where::kText;
      needle.matched = needle.text.empty();
      longest_ = std::max(longest_, needle.text.size());
      if (!needle.matched) {
        headers |= needle.headers;
        bodies = true;
      }
      needles_.push_back(std::move(needle));
    }
    for (const PartTable::Entry& entry : table.entries()) {
      if (headers) AddSegment({{entry.header_start, entry.body_start}, true, {}, {}});
      if (bodies && entry.kind == Part::Kind::kText) {
        AddSegment({{entry.body_start, entry.body_end}, false, entry.encoding, entry.charset});
      }
    }
    for (const Segment& segment : segments_) {
      if (!ranges_.empty() && segment.bytes.begin <= ranges_.back().end + kMaxGap) {
        ranges_.back().end = segment.bytes.end;
      } else {
        ranges_.push_back(segment.bytes);
      }
    }
  }

  const std::vector<ByteRange>& ranges() const { return ranges_; }

  void Feed(uint64_t offset, absl::string_view bytes) {
    while (!bytes.empty() && at_ < segments_.size()) {
      const Segment& segment = segments_[at_];
      if (offset >= segment.bytes.end) {
        EndSegment();
        continue;
      }
      if (offset < segment.bytes.begin) {
        const uint64_t skip = std::min<uint64_t>(bytes.size(), segment.bytes.begin - offset);
        offset += skip;
        bytes.remove_prefix(skip);
        continue;
      }
      const size_t take = std::min<uint64_t>({bytes.size(), segment.bytes.end - offset, kSlice});
      if (segment.header) {
        HeaderBytes(bytes.substr(0, take));
      } else {
        BodyBytes(segment, bytes.substr(0, take));
      }
      offset += take;
      bytes.remove_prefix(take);
    }
  }

  void Finish() {
    while (at_ < segments_.size()) EndSegment();
  }
  bool Done() const {
    return std::all_of(needles_.begin(), needles_.end(), [](const Needle& n) { return n.matched; });
  }
  bool Matched(size_t term) const { return needles_.at(term).matched; }

 private:
  struct Needle {
    std::string text;  // folded
    bool headers = false;
    bool matched = false;
  };
  struct Segment {
    ByteRange bytes;
    bool header = false;
    Encoding encoding = Encoding::kIdentity;
    std::string charset;
  };

  void AddSegment(Segment segment) {
    if (segment.bytes.size() > 0) segments_.push_back(std::move(segment));
  }

  void Look(absl::string_view folded, bool header) {
    for (Needle& needle : needles_) {
      if (!needle.matched && (!header || needle.headers)) needle.matched = Contains(folded, needle.text);
    }
  }

  void HeaderBytes(absl::string_view bytes) {
    header_.append(bytes.data(), bytes.size());
    if (header_.size() > kMaxHeader) EndHeader();
  }
  // Field by field, so that nothing is found across two.
  void EndHeader() {
    absl::string_view rest = header_;
    while (!rest.empty()) {
      size_t end = rest.find('\n');
      while (end != absl::string_view::npos && end + 1 < rest.size() &&
             (rest[end + 1] == ' ' || rest[end + 1] == '\t')) {
        end = rest.find('\n', end + 1);
      }
      const absl::string_view field = rest.substr(0, end);
      Look(FoldCase(DecodeText(field)), true);
      if (end == absl::string_view::npos) break;
      rest.remove_prefix(end + 1);
    }
    header_.clear();
  }

  void BodyBytes(const Segment& segment, absl::string_view bytes) {
    if (!transfer_) {
      transfer_.emplace(segment.encoding);
      charset_.emplace(segment.charset);
    }
    decoded_.clear();
    transfer_->Feed(bytes, &decoded_);
    utf8_.clear();
    charset_->Feed(decoded_, &utf8_);
    Text();
  }
  // `window_` is the end of what was looked at, then what is new.
  void Text() {
    folder_.Feed(utf8_, &window_);
    Look(window_, false);
    const size_t keep = longest_ == 0 ? 0 : longest_ - 1;
    if (window_.size() > keep) window_.erase(0, window_.size() - keep);
  }

  void EndSegment() {
    if (segments_[at_].header) {
      EndHeader();
    } else if (transfer_) {
      decoded_.clear();
      transfer_->Finish(&decoded_);
      utf8_.clear();
      charset_->Feed(decoded_, &utf8_);
      charset_->Finish(&utf8_);
      Text();
    }
    transfer_.reset();
    charset_.reset();
    folder_ = CaseFolder();
    window_.clear();
    ++at_;
  }

  std::vector<Needle> needles_;
  size_t longest_ = 0;
  std::vector<Segment> segments_;
  std::vector<ByteRange> ranges_;
  size_t at_ = 0;  // the segment being read
  std::string header_;
  std::optional<TransferDecoder> transfer_;
  std::optional<CharsetDecoder> charset_;
  CaseFolder folder_;
  std::string decoded_, utf8_, window_;
};

MessageSearch::MessageSearch(const PartTable& table, const std::vector<Term>& terms)
    : impl_(std::make_unique<Impl>(table, terms)) {}
MessageSearch::~MessageSearch() = default;
const std::vector<ByteRange>& MessageSearch::Ranges() const { return impl_->ranges(); }
void MessageSearch::Feed(uint64_t offset, absl::string_view bytes) { impl_->Feed(offset, bytes); }
void MessageSearch::Finish() { impl_->Finish(); }
bool MessageSearch::Done() const { return impl_->Done(); }
bool MessageSearch::Matched(size_t term) const { return impl_->Matched(term); }

}  // namespace posthouse::message
