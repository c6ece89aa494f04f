// Reads queries and writes responses, for the DNS server of tests and for tests of the parser.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/routing/dns/message.h"

namespace posthouse::routing::dns {

struct Question {
  uint16_t id = 0;
  bool recursion_desired = false;
  std::string name;  // canonical
  uint16_t type = 0;
};
// The question of a query or a response; its name must not be compressed.
absl::StatusOr<Question> ParseQuestion(absl::string_view message);

struct ResourceRecord {
  std::string name;
  RecordType type = RecordType::kA;
  uint32_t ttl = 60;
  std::string data;  // RDATA
};
std::string EncodeName(absl::string_view name);
std::string MxData(uint16_t preference, absl::string_view host);
std::string AddressData(absl::string_view address);  // IPv4 or IPv6 text
std::string SoaData(uint32_t minimum);
std::string TxtData(absl::string_view text);

struct AnswerHeader {
  int rcode = 0;
  bool truncated = false;
  bool authenticated = false;
};
std::string WriteAnswer(const Question& question, const AnswerHeader& header,
                        const std::vector<ResourceRecord>& answers, const std::vector<ResourceRecord>& authority);

}  // namespace posthouse::routing::dns
