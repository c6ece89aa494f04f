// First byte: step. Whole and cut input give the same; counting changes nothing;
// a completed header has Date, Message-ID and no Bcc, and completing it again is no change.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "services/common/status/status.h"
#include "services/ingress/header_editor.h"
#include "services/mail_formats/smtp/data_decoder.h"

namespace {

using posthouse::ingress::HeaderEditor;

std::string Run(HeaderEditor editor, absl::string_view input, size_t step, uint32_t* received) {
  std::string out;
  for (size_t i = 0; i < input.size(); i += step) editor.Feed(input.substr(i, step), &out);
  editor.Finish(&out);
  *received = editor.received();
  return out;
}

// The editor's input: lines that end in CRLF, the last one too.
std::string Normal(absl::string_view bytes) {
  posthouse::smtp::DataDecoder decoder(posthouse::smtp::DataFormat::kChunk,
                                       posthouse::smtp::BareLinePolicy::kNormalize);
  std::string out;
  decoder.Feed(bytes, &out);
  decoder.Finish(&out);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t step = 1 + data[0] % 64;
  const std::string input = Normal(absl::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
  const size_t all = std::max<size_t>(input.size(), 1);
  uint32_t counted = 0, counted_cut = 0, ignored = 0;
  PH_CHECK(Run(HeaderEditor(), input, all, &counted) == input);
  PH_CHECK(Run(HeaderEditor(), input, step, &counted_cut) == input);
  PH_CHECK(counted == counted_cut);
  const HeaderEditor::Completion completion{"Date: d\r\n", "Message-ID: <m>\r\n"};
  const std::string done = Run(HeaderEditor(completion), input, all, &ignored);
  PH_CHECK(done == Run(HeaderEditor(completion), input, step, &ignored));
  PH_CHECK(done.size() <= input.size() + 32);
  PH_CHECK(Run(HeaderEditor(completion), done, all, &ignored) == done);
  const std::string header = absl::AsciiStrToLower("\r\n" + done.substr(0, done.find("\r\n\r\n")));
  PH_CHECK(!absl::StrContains(header, "\r\nbcc:"));
  PH_CHECK(absl::StrContains(header, "\r\ndate") && absl::StrContains(header, "\r\nmessage-id"));
  return 0;
}
