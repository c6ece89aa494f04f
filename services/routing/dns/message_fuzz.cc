// Responses that DNS servers may send.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "services/common/status/status.h"
#include "services/routing/dns/message.h"
#include "services/routing/dns/testing/message_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace posthouse::routing::dns;
  const absl::string_view message(reinterpret_cast<const char*>(data), size);
  std::string name = "example.org";
  if (const absl::StatusOr<Question> question = ParseQuestion(message); question.ok()) name = question->name;
  for (const RecordType type : {RecordType::kA, RecordType::kMx, RecordType::kTxt, RecordType::kAaaa}) {
    const absl::StatusOr<Answer> answer = ParseAnswer(message, name, type);
    if (!answer.ok()) continue;
    PH_CHECK(answer->mx.size() + answer->addresses.size() + answer->texts.size() <= kMaxRecords);
    PH_CHECK(answer->ttl >= absl::ZeroDuration());
    PH_CHECK((answer->outcome == Answer::Outcome::kRecords) ==
             (answer->mx.size() + answer->addresses.size() + answer->texts.size() > 0));
    PH_CHECK(answer->follow.empty() || answer->outcome == Answer::Outcome::kNoData);
  }
  return 0;
}
