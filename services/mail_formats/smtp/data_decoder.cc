#include "services/mail_formats/smtp/data_decoder.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace posthouse::smtp {
namespace {

// Index of the first CR, LF or NUL in `text` at or after `from`; its size when none.
size_t FindSpecial(absl::string_view text, size_t from) {
  size_t i = from;
#if defined(__SSE2__)
  const __m128i cr = _mm_set1_epi8('\r');
  const __m128i lf = _mm_set1_epi8('\n');
  const __m128i nul = _mm_setzero_si128();
  for (; i + 16 <= text.size(); i += 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + i));
    const __m128i hit =
        _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(block, cr), _mm_cmpeq_epi8(block, lf)), _mm_cmpeq_epi8(block, nul));
    const int mask = _mm_movemask_epi8(hit);
    if (mask != 0) return i + static_cast<size_t>(__builtin_ctz(static_cast<unsigned>(mask)));
  }
#endif
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\r' || c == '\n' || c == '\0') break;
  }
  return i;
}

}  // namespace

DataDecoder::DataDecoder(DataFormat format, BareLinePolicy policy) : format_(format), policy_(policy) {}

void DataDecoder::Bare(Violation what, std::string* out) {
  if (policy_ == BareLinePolicy::kReject) {
    if (violation_ == Violation::kNone) violation_ = what;
    return;
  }
  if (what != Violation::kNul) out->append("\r\n");
}

// Copies text from the front up to the first line that needs a decision. Clean data
// is so copied in runs, not line by line.
size_t DataDecoder::Text(absl::string_view input, std::string* out) {
  size_t i = 0;
  while (true) {
    i = FindSpecial(input, i);
    const bool line_end = i + 1 < input.size() && input[i] == '\r' && input[i + 1] == '\n';
    if (!line_end) break;
    i += 2;
    state_ = State::kLine;
    if (i == input.size() || (format_ == DataFormat::kDotStuffed && input[i] == '.')) break;
    state_ = State::kText;
  }
  out->append(input.data(), i);
  return i;
}

size_t DataDecoder::Feed(absl::string_view input, std::string* out) {
  size_t i = 0;
  while (i < input.size() && state_ != State::kEnd) {
    const char c = input[i];
    switch (state_) {
      case State::kLine:
        if (c == '.' && format_ == DataFormat::kDotStuffed) {
          state_ = State::kDot;
          ++i;
        } else {
          state_ = State::kText;
        }
        break;
      case State::kText:
        if (c == '\r') {
          // Its own state: the LF may be in the next piece.
          if (i + 1 < input.size() && input[i + 1] == '\n') {
            i += Text(input.substr(i), out);
          } else {
            state_ = State::kCr;
            ++i;
          }
        } else if (c == '\n') {
          Bare(Violation::kBareLf, out);
          ++i;
        } else if (c == '\0') {
          Bare(Violation::kNul, out);
          ++i;
        } else {
          i += Text(input.substr(i), out);
        }
        break;
      case State::kCr:
        if (c == '\n') {
          out->append("\r\n");
          state_ = State::kLine;
          ++i;
        } else {
          // CR CR LF is a CRLF with a bare CR before it: that one is dropped.
          if (c == '\r' && policy_ == BareLinePolicy::kNormalize) {
            ++i;
          } else {
            Bare(Violation::kBareCr, out);
            state_ = State::kText;
          }
        }
        break;
      case State::kDot:
        // RFC 5321 §4.5.2: a dot with other characters behind it was added.
        if (c == '\r') {
          state_ = State::kDotCr;
          ++i;
        } else {
          state_ = State::kText;
        }
        break;
      case State::kDotCr:
        if (c == '\n') {
          state_ = State::kEnd;
          ++i;
        } else {
          state_ = State::kCr;
        }
        break;
      case State::kEnd:
        break;
    }
  }
  return i;
}

void DataDecoder::Finish(std::string* out) {
  if (state_ == State::kCr) Bare(Violation::kBareCr, out);
  if (state_ == State::kText) out->append("\r\n");
  state_ = State::kEnd;
}

absl::string_view ViolationName(DataDecoder::Violation violation) {
  switch (violation) {
    case DataDecoder::Violation::kBareLf:
      return "bare LF";
    case DataDecoder::Violation::kBareCr:
      return "bare CR";
    case DataDecoder::Violation::kNul:
      return "NUL";
    case DataDecoder::Violation::kNone:
      break;
  }
  return "none";
}

}  // namespace posthouse::smtp
