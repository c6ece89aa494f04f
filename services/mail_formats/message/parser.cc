#include "services/mail_formats/message/parser.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "services/mail_formats/message/header_reader.h"

namespace posthouse::message {
namespace {

// RFC 2046 §5.1.1 allows 70 characters; of longer boundaries this many are compared.
constexpr size_t kMaxBoundary = 256;
// The length of line that shows a delimiter: "--", the boundary, "--", CR.
constexpr size_t kLineHead = HeaderReader::kLineHead;
static_assert(kLineHead >= kMaxBoundary + 5);
// Type, subtype and charset of a part when there is no room for its header.
constexpr size_t kMaxBareWord = 64;

MimeValue DefaultType() { return {"text", "plain", {{"charset", "us-ascii"}}}; }

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
  explicit Impl(Limits limits) : limits_(limits), header_(limits) { NewPart(-1); }

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
    message_.truncated |= header_.truncated();
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
  size_t LineRoom() const { return in_header_ ? kLineHead + header_.room() : kLineHead; }

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
    header_.Line(text, start, offset_, eol);
  }

  void EndHeader(uint64_t body_start) {
    header_.End();
    in_header_ = false;
    Open& open = stack_.back();
    Part& part = Top();
    part.fields = header_.TakeFields();
    part.body_start = body_start;
    // This line's end is not counted yet; the blank line belongs to the header, a
    // delimiter that ended the header does not.
    open.lines_before = lines_ + (body_start == offset_ ? 1 : 0);
    if (header_.transfer_encoding()) part.encoding = ParseEncoding(*header_.transfer_encoding());
    if (header_.disposition()) {
      const std::optional<MimeValue> disposition = ParseDisposition(*header_.disposition());
      part.attachment = disposition && absl::EqualsIgnoreCase(disposition->type, "attachment");
    }
    const bool in_digest = stack_.size() > 1 && stack_[stack_.size() - 2].digest;
    std::optional<MimeValue> type;
    if (header_.content_type()) type = ParseContentType(*header_.content_type());
    // RFC 2046 §5.1.5: in a digest the default is a message.
    if (!header_.content_type() && in_digest) type = MimeValue{"message", "rfc822", {}};
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
    if (header_.TakeTotal(bytes)) return;
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
    header_.Begin(KeptOf(parent));
  }

  HeaderReader::Keeps KeptOf(int parent) const {
    if (parent < 0) return HeaderReader::Keeps::kAll;
    const bool is_message = message_.parts[static_cast<size_t>(parent)].kind == Part::Kind::kMessage;
    return is_message ? HeaderReader::Keeps::kEnvelope : HeaderReader::Keeps::kContent;
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

  bool in_header_ = true;
  HeaderReader header_;
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
