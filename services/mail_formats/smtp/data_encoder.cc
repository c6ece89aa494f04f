#include "services/mail_formats/smtp/data_encoder.h"

#include <cstddef>

namespace posthouse::smtp {

void DataEncoder::Encode(absl::string_view piece, std::string* out) {
  size_t i = 0;
  while (i < piece.size()) {
    if (cr_) {
      cr_ = false;
      line_start_ = true;
      out->append("\r\n");
      if (piece[i] == '\n') ++i;
      continue;
    }
    if (line_start_ && piece[i] == '.') out->push_back('.');
    const size_t end = piece.substr(i).find_first_of("\r\n");
    if (end == absl::string_view::npos) {
      out->append(piece.data() + i, piece.size() - i);
      line_start_ = false;
      return;
    }
    out->append(piece.data() + i, end);
    i += end;
    // Either a CR, whose LF may follow, or a bare LF, which gets its CR.
    cr_ = piece[i] == '\r';
    if (!cr_) out->append("\r\n");
    line_start_ = true;
    ++i;
  }
}

void DataEncoder::Finish(std::string* out) {
  if (cr_ || !line_start_) out->append("\r\n");
  out->append(".\r\n");
  line_start_ = true;
  cr_ = false;
}

}  // namespace posthouse::smtp
