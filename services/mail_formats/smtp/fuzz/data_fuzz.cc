// First byte: policy, format and step. Whole and cut input decode to the same; a
// normalised message holds no bare CR, LF or NUL and survives another hop.
#include <cstddef>
#include <cstdint>
#include <string>

#include "services/common/status/status.h"
#include "services/mail_formats/smtp/data_decoder.h"
#include "services/mail_formats/smtp/data_encoder.h"

namespace {

using namespace posthouse::smtp;  // NOLINT: a fuzz target's only scope

struct Result {
  std::string message;
  size_t used = 0;
  bool done = false;
  DataDecoder::Violation violation{};
};

Result Decode(absl::string_view input, size_t step, DataFormat format, BareLinePolicy policy) {
  DataDecoder decoder(format, policy);
  Result result;
  while (result.used < input.size() && !decoder.done()) {
    result.used += decoder.Feed(input.substr(result.used, step), &result.message);
  }
  if (format == DataFormat::kChunk) decoder.Finish(&result.message);
  result.done = decoder.done();
  result.violation = decoder.violation();
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto policy = (data[0] & 1) != 0 ? BareLinePolicy::kNormalize : BareLinePolicy::kReject;
  const auto format = (data[0] & 2) != 0 ? DataFormat::kChunk : DataFormat::kDotStuffed;
  const size_t step = 1 + (data[0] >> 2);
  const Result whole = Decode(input, input.size() + 1, format, policy);
  const Result cut = Decode(input, step, format, policy);
  PH_CHECK(whole.message == cut.message && whole.used == cut.used && whole.done == cut.done &&
           whole.violation == cut.violation);
  PH_CHECK(whole.message.size() <= 2 * input.size() + 2);
  if (!whole.done || (policy == BareLinePolicy::kReject && whole.violation != DataDecoder::Violation::kNone)) return 0;
  DataEncoder encoder;
  std::string wire;
  encoder.Encode(whole.message, &wire);
  encoder.Finish(&wire);
  const Result hop = Decode(wire, step, DataFormat::kDotStuffed, BareLinePolicy::kReject);
  PH_CHECK(hop.done && hop.used == wire.size() && hop.violation == DataDecoder::Violation::kNone);
  PH_CHECK(hop.message == whole.message);
  return 0;
}
