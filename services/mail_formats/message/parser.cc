#include "services/mail_formats/message/parser.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace posthouse::message {
namespace {

// RFC 2046 §5.1.1 allows 70 characters; of longer boundaries this many are compared.
constexpr size_t kMaxBoundary = 256;
// The length of line that shows a delimiter: "--", the boundary, "--", CR.
constexpr size_t kLineHead = kMaxBoundary + 5;
// Type, subtype and charset of a part when there is no room for its header.
constexpr size_t kMaxBareWord = 64;

// The fields of ENVELOPE; a message in a message keeps these beside Content-*.
constexpr std::array<absl::string_view, 10> kEnvelopeFields = {"date", "subject", "from", "sender",      "reply-to",
                                                               "to",   "cc",      "bcc",  "in-reply-to", "message-id"};

MimeValue DefaultType() { return {"text", "plain", {{"charset", "us-ascii"}}}; }

bool IsFieldNameChar(char c) { return c > 32 && c < 127; }  // RFC 5322 §2.2: ftext

uint64_t CountLines(absl::string_view bytes) {
  return static_cast<uint64_t>(std::count(bytes.begin(), bytes.end(), '\n'));
}

}  // namespace

const Field* Part::Find(absl::string_view name) const {
  for (const Field& field : fields) {
    if (absl::EqualsIgnoreCase(field.name, name)) return &field;
  }
  return nullptr;
}

// The parts that are open form a stack: each is the parent of the next. Only the
// innermost reads a header or a body; any multipart of the stack may see its
// delimiter.
class Parser::Impl {
 public:
  explicit Impl(Limits limits) : limits_(limits) { NewPart(-1); }

  void Feed(absl::string_view chunk) {
    while (!chunk.empty()) {
      if (!in_header_ && boundaries_ == 0) {  // nothing can change any more: only count
        Capture(chunk);
        lines_ += CountLines(chunk);
        offset_ += chunk.size();
        return;
      }
      const void* lf = std::memchr(chunk.data(), '\n', chunk.size());
      const size_t take =
          lf == nullptr ? chunk.size() : static_cast<size_t>(static_cast<const char*>(lf) - chunk.data()) + 1;
      LineBytes(chunk.substr(0, take), lf != nullptr);
      chunk.remove_prefix(take);
    }
  }

  Message Finish() {
    if (offset_ > line_start_) EndLine(0);  // a last line without its end
    while (in_header_) EndHeader(offset_);
    while (!stack_.empty()) ClosePart(offset_, 0);
    message_.bytes = offset_;
    return std::move(message_);
  }

 private:
  struct Open {
    uint32_t part = 0;
    std::string boundary;  // not empty: a multipart whose delimiters count
    bool digest = false;
    uint64_t lines_before = 0;  // line ends before the body
  };

  Part& Top() { return message_.parts[stack_.back().part]; }

  // ---- lines

  void LineBytes(absl::string_view bytes, bool complete) {
    if (!in_header_) Capture(bytes);
    // In a body only what begins like a delimiter is looked at.
    if (in_header_ || !line_.empty() || (offset_ == line_start_ && bytes[0] == '-')) {
      const size_t room = LineRoom();
      if (line_.size() < room) line_.append(bytes.data(), std::min(bytes.size(), room - line_.size()));
    }
    offset_ += bytes.size();
    if (!complete) {
      last_byte_ = bytes.back();
      return;
    }
    const char before = bytes.size() > 1 ? bytes[bytes.size() - 2] : (offset_ - line_start_ > 1 ? last_byte_ : '\0');
    EndLine(before == '\r' ? 2 : 1);
    ++lines_;
  }

  // How much of the line is kept: in a body only what may be a delimiter.
  size_t LineRoom() const {
    if (!in_header_) return kLineHead;
    return kLineHead + (limits_.max_header_bytes > header_kept_ ? limits_.max_header_bytes - header_kept_ : 0);
  }

  void EndLine(size_t eol) {
    // Without its line end; a line that was cut has none in `line_`.
    absl::string_view text = line_;
    if (text.size() == offset_ - line_start_) text.remove_suffix(eol);
    const uint64_t start = line_start_;
    if (in_header_) {
      HeaderLine(text, start, eol);
    } else {
      BodyLine(text, start);
    }
    line_.clear();
    line_start_ = offset_;
    previous_eol_ = eol;
  }

  // ---- header

  void HeaderLine(absl::string_view text, uint64_t start, size_t eol) {
    if (text.empty() && eol > 0) return EndHeader(offset_);
    if (boundaries_ > 0) {
      if (const int level = MatchBoundary(text); level >= 0) {
        // The blank line is missing: the delimiter ends the header.
        EndHeader(start);
        return Delimiter(static_cast<size_t>(level), text, start, /*header_cut=*/true);
      }
    }
    if ((text[0] == ' ' || text[0] == '\t') && have_field_) {
      Continue(text, start);
    } else {
      CommitField();
      BeginField(text, start);
    }
    field_.bytes = offset_ - field_.offset;
    field_eol_ = eol;
  }

  // Takes from what may be kept; false: nothing is left.
  bool Keep(size_t bytes) {
    if (header_kept_ + bytes > limits_.max_header_bytes) {
      header_kept_ = limits_.max_header_bytes;
      message_.truncated = true;
      return false;
    }
    header_kept_ += bytes;
    return true;
  }

  void BeginField(absl::string_view text, uint64_t start) {
    have_field_ = true;
    field_ = Field();
    field_.offset = start;
    const size_t colon = text.find(':');
    size_t name_end = colon == absl::string_view::npos ? 0 : colon;
    while (name_end > 0 && (text[name_end - 1] == ' ' || text[name_end - 1] == '\t')) --name_end;  // RFC 5322 §4.5
    const absl::string_view name = text.substr(0, name_end);
    field_kept_ = Keep(text.size());
    if (!field_kept_) {
      text = text.substr(0, std::min(text.size(), kLineHead));
      field_kept_ = fields_ == 0;  // of a single huge field, the beginning
    }
    if (!name.empty() && name.size() <= text.size() && std::all_of(name.begin(), name.end(), IsFieldNameChar)) {
      field_.name = std::string(name);
      field_.value = std::string(text.substr(std::min(text.size(), colon + 1)));
    } else {
      field_.value = std::string(text);
    }
  }

  void Continue(absl::string_view text, uint64_t start) {
    if (!field_kept_ || !Keep(text.size() + 2)) return;
    field_.value.append(field_eol_ == 2 ? "\r\n" : "\n");
    field_.value.append(text.data(), text.size());
  }

  void CommitField() {
    if (!std::exchange(have_field_, false) || !field_kept_) return;
    if (++fields_ > limits_.max_fields) {
      message_.truncated = true;
      return;
    }
    if (!type_ && absl::EqualsIgnoreCase(field_.name, "content-type")) type_ = field_.value;
    if (!encoding_ && absl::EqualsIgnoreCase(field_.name, "content-transfer-encoding")) encoding_ = field_.value;
    if (!disposition_ && absl::EqualsIgnoreCase(field_.name, "content-disposition")) disposition_ = field_.value;
    if (!Wanted(field_.name)) return;
    const size_t bytes = field_.name.size() + field_.value.size();
    if (total_kept_ + bytes > limits_.max_total_header_bytes) {
      message_.truncated = true;
      return;
    }
    total_kept_ += bytes;
    Top().fields.push_back(std::move(field_));
  }

  bool Wanted(absl::string_view name) const {
    const Part& part = message_.parts[stack_.back().part];
    if (part.parent < 0) return true;
    if (absl::StartsWithIgnoreCase(name, "content-")) return true;
    if (message_.parts[static_cast<size_t>(part.parent)].kind != Part::Kind::kMessage) return false;
    return std::any_of(kEnvelopeFields.begin(), kEnvelopeFields.end(),
                       [&](absl::string_view wanted) { return absl::EqualsIgnoreCase(name, wanted); });
  }

  void EndHeader(uint64_t body_start) {
    CommitField();
    in_header_ = false;
    Open& open = stack_.back();
    Part& part = Top();
    part.body_start = body_start;
    // This line's end is not counted yet; the blank line belongs to the header, a
    // delimiter that ended the header does not.
    open.lines_before = lines_ + (body_start == offset_ ? 1 : 0);
    if (encoding_) part.encoding = ParseEncoding(*encoding_);
    if (disposition_) {
      const std::optional<MimeValue> disposition = ParseDisposition(*disposition_);
      part.attachment = disposition && absl::EqualsIgnoreCase(disposition->type, "attachment");
    }
    const bool in_digest = stack_.size() > 1 && stack_[stack_.size() - 2].digest;
    std::optional<MimeValue> type;
    if (type_) type = ParseContentType(*type_);
    // RFC 2046 §5.1.5: in a digest the default is a message.
    if (!type_ && in_digest) type = MimeValue{"message", "rfc822", {}};
    SetType(part, open, std::move(type));
    if (part.kind == Part::Kind::kMessage) {
      const uint64_t at = body_start;
      NewPart(static_cast<int>(open.part), at);
      if (at != offset_) EndHeader(at);  // a delimiter is next: the message is empty
    } else {
      BeginSample();
    }
  }

  void SetType(Part& part, Open& open, std::optional<MimeValue> type) {
    part.type = type ? *std::move(type) : DefaultType();
    const bool deep = stack_.size() > limits_.max_depth;
    if (absl::EqualsIgnoreCase(part.type.type, "multipart")) {
      std::string boundary = part.type.GetRaw("boundary").value_or("");
      absl::string_view trimmed = absl::StripTrailingAsciiWhitespace(boundary);
      if (!trimmed.empty() && !deep) {
        part.kind = Part::Kind::kMultipart;
        open.boundary = std::string(trimmed.substr(0, kMaxBoundary));
        open.digest = absl::EqualsIgnoreCase(part.type.subtype, "digest");
        ++boundaries_;
      } else {
        message_.truncated |= deep;
        part.type = DefaultType();
      }
    } else if (absl::EqualsIgnoreCase(part.type.type, "message") &&
               (absl::EqualsIgnoreCase(part.type.subtype, "rfc822") ||
                absl::EqualsIgnoreCase(part.type.subtype, "global"))) {
      if (!deep && message_.parts.size() < limits_.max_parts) {
        part.kind = Part::Kind::kMessage;
      } else {
        message_.truncated = true;
        part.type = DefaultType();
      }
    } else if (!absl::EqualsIgnoreCase(part.type.type, "text")) {
      part.kind = Part::Kind::kOther;
    }
    BoundType(part);
  }

  // The parameters count as header bytes; without room only what matters stays.
  void BoundType(Part& part) {
    size_t bytes = part.type.type.size() + part.type.subtype.size();
    for (const Param& param : part.type.params) bytes += param.name.size() + param.value.size();
    if (total_kept_ + bytes <= limits_.max_total_header_bytes) {
      total_kept_ += bytes;
      return;
    }
    message_.truncated = true;
    MimeValue bare{part.type.type.substr(0, kMaxBareWord), part.type.subtype.substr(0, kMaxBareWord), {}};
    if (const auto charset = part.type.GetRaw("charset"))
      bare.params.push_back({"charset", charset->substr(0, kMaxBareWord)});
    part.type = std::move(bare);
  }

  // ---- body

  void BodyLine(absl::string_view text, uint64_t start) {
    const int level = MatchBoundary(text);
    if (level >= 0) Delimiter(static_cast<size_t>(level), text, start, /*header_cut=*/false);
  }

  // The stack level whose delimiter `text` is; -1: none. RFC 2046 §5.1.1: the
  // beginning of the line decides, so a boundary may be a prefix of another: the
  // longest wins, of equals the innermost.
  int MatchBoundary(absl::string_view text) const {
    if (swallow_ || text.size() < 3 || text[0] != '-' || text[1] != '-') return -1;
    text.remove_prefix(2);
    int best = -1;
    size_t best_size = 0;
    for (size_t i = stack_.size(); i-- > 0;) {
      const std::string& boundary = stack_[i].boundary;
      if (boundary.size() > best_size && absl::StartsWith(text, boundary)) {
        best = static_cast<int>(i);
        best_size = boundary.size();
      }
    }
    return best;
  }

  // `header_cut`: the delimiter ended a header that had no empty line.
  void Delimiter(size_t level, absl::string_view text, uint64_t start, bool header_cut) {
    const bool closes = absl::StartsWith(text.substr(2 + stack_[level].boundary.size()), "--");
    if (!closes && message_.parts.size() >= limits_.max_parts) {
      swallow_ = true;  // the last part holds the rest
      message_.truncated = true;
      return;
    }
    // A header that this delimiter ended owns the line end before it, and keeps it
    // for all parts around it.
    size_t eol = previous_eol_;
    if (Top().body_start == start) {
      // RFC 2046 §5.1.1: without a body the empty line after the header is the line end that belongs
      // to the delimiter, so the header has none.
      const bool empty = !header_cut && stack_.size() > level + 1;
      if (empty) Top().body_start -= eol;
      if (!empty) eol = 0;
    }
    while (stack_.size() > level + 1) ClosePart(start, eol);
    if (closes) {
      stack_[level].boundary.clear();  // what follows is the epilogue
      --boundaries_;
    } else {
      NewPart(static_cast<int>(stack_[level].part), offset_);
    }
  }

  // The line end before a delimiter belongs to it (RFC 2046 §5.1.1).
  void ClosePart(uint64_t end, size_t eol) {
    const Open& open = stack_.back();
    Part& part = Top();
    uint64_t lines = lines_;
    if (eol > 0) {
      end -= std::min<uint64_t>(eol, end - part.body_start);
      --lines;
    }
    part.body_end = end;
    part.lines = lines > open.lines_before ? lines - open.lines_before : 0;
    if (!open.boundary.empty()) --boundaries_;
    EndSample(open.part);
    stack_.pop_back();
  }

  // ---- parts

  void NewPart(int parent, uint64_t at = 0) {
    const uint32_t index = static_cast<uint32_t>(message_.parts.size());
    message_.parts.emplace_back();
    Part& part = message_.parts.back();
    part.parent = parent;
    part.header_start = part.body_start = part.body_end = at;
    if (parent >= 0) message_.parts[static_cast<size_t>(parent)].children.push_back(index);
    Open open;
    open.part = index;
    stack_.push_back(std::move(open));
    in_header_ = true;
    header_kept_ = 0;
    fields_ = 0;
    type_.reset();
    encoding_.reset();
    disposition_.reset();
  }

  // ---- samples

  void BeginSample() {
    const Part& part = Top();
    if (part.kind != Part::Kind::kText || part.attachment || limits_.sample_bytes == 0) return;
    Message::Sample* sample = absl::EqualsIgnoreCase(part.type.subtype, "plain")  ? &message_.plain
                              : absl::EqualsIgnoreCase(part.type.subtype, "html") ? &message_.html
                                                                                  : nullptr;
    if (sample == nullptr || sample->part >= 0) return;
    sample->part = static_cast<int>(stack_.back().part);
    sample_ = sample;
  }
  void Capture(absl::string_view bytes) {
    if (sample_ == nullptr || sample_->bytes.size() >= limits_.sample_bytes) return;
    sample_->bytes.append(bytes.data(), std::min(bytes.size(), limits_.sample_bytes - sample_->bytes.size()));
  }
  // Removes the captured bytes of the delimiter.
  void EndSample(uint32_t part) {
    if (sample_ == nullptr || sample_->part != static_cast<int>(part)) return;
    const Part& p = message_.parts[part];
    if (sample_->bytes.size() > p.body_end - p.body_start) sample_->bytes.resize(p.body_end - p.body_start);
    sample_ = nullptr;
  }

  const Limits limits_;
  Message message_;
  std::vector<Open> stack_;
  size_t boundaries_ = 0;  // open parts with a boundary
  bool swallow_ = false;
  Message::Sample* sample_ = nullptr;

  // Position.
  uint64_t offset_ = 0;  // bytes seen
  uint64_t lines_ = 0;   // line ends before the current line
  uint64_t line_start_ = 0;
  std::string line_;  // the line's beginning
  char last_byte_ = '\0';
  size_t previous_eol_ = 0;  // length of the line end before `line_start_`

  // The header being read.
  bool in_header_ = true;
  size_t header_kept_ = 0, total_kept_ = 0, fields_ = 0;
  bool have_field_ = false, field_kept_ = false;
  Field field_;
  size_t field_eol_ = 0;
  std::optional<std::string> type_, encoding_, disposition_;
};

Parser::Parser(Limits limits) : impl_(std::make_unique<Impl>(limits)) {}
Parser::~Parser() = default;
Parser::Parser(Parser&&) noexcept = default;
void Parser::Feed(absl::string_view chunk) { impl_->Feed(chunk); }
Message Parser::Finish() { return impl_->Finish(); }

Message Parse(absl::string_view bytes, const Limits& limits) {
  Parser parser(limits);
  parser.Feed(bytes);
  return parser.Finish();
}

}  // namespace posthouse::message
