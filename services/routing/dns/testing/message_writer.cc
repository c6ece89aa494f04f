#include "services/routing/dns/testing/message_writer.h"

#include <arpa/inet.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/status/status.h"

namespace posthouse::routing::dns {
namespace {

constexpr size_t kHeaderBytes = 12;
constexpr uint16_t kClassIn = 1;

void PutU16(std::string* out, uint32_t value) {
  out->push_back(static_cast<char>(value >> 8 & 0xFF));
  out->push_back(static_cast<char>(value & 0xFF));
}
void PutU32(std::string* out, uint32_t value) {
  PutU16(out, value >> 16);
  PutU16(out, value & 0xFFFF);
}
void PutRecord(std::string* out, const ResourceRecord& record) {
  absl::StrAppend(out, EncodeName(record.name));
  PutU16(out, static_cast<uint16_t>(record.type));
  PutU16(out, kClassIn);
  PutU32(out, record.ttl);
  PutU16(out, static_cast<uint32_t>(record.data.size()));
  absl::StrAppend(out, record.data);
}
uint16_t U16At(absl::string_view message, size_t at) {
  return static_cast<uint16_t>(static_cast<unsigned char>(message[at]) << 8 |
                               static_cast<unsigned char>(message[at + 1]));
}

}  // namespace

absl::StatusOr<Question> ParseQuestion(absl::string_view message) {
  const absl::Status malformed = absl::InvalidArgumentError("no question");
  if (message.size() < kHeaderBytes || U16At(message, 4) != 1) return malformed;
  Question question;
  question.id = U16At(message, 0);
  question.recursion_desired = (U16At(message, 2) & 0x0100) != 0;
  size_t at = kHeaderBytes;
  while (true) {
    if (at >= message.size()) return malformed;
    const size_t length = static_cast<unsigned char>(message[at++]);
    if (length == 0) break;
    if (length > 63 || message.size() - at < length) return malformed;
    absl::StrAppend(&question.name, question.name.empty() ? "" : ".", CanonicalName(message.substr(at, length)));
    at += length;
  }
  if (message.size() - at < 2) return malformed;
  question.type = U16At(message, at);
  return question;
}

std::string EncodeName(absl::string_view name) {
  std::string wire;
  for (const absl::string_view label : absl::StrSplit(CanonicalName(name), '.', absl::SkipEmpty())) {
    wire.push_back(static_cast<char>(label.size()));
    wire.append(label.data(), label.size());
  }
  wire.push_back('\0');
  return wire;
}

std::string MxData(uint16_t preference, absl::string_view host) {
  std::string data;
  PutU16(&data, preference);
  return data + EncodeName(host);
}

std::string AddressData(absl::string_view address) {
  unsigned char bytes[16];
  const std::string text(address);
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) return std::string(reinterpret_cast<char*>(bytes), 4);
  PH_CHECK(inet_pton(AF_INET6, text.c_str(), bytes) == 1);
  return std::string(reinterpret_cast<char*>(bytes), 16);
}

std::string SoaData(uint32_t minimum) {
  std::string data = EncodeName("ns.invalid") + EncodeName("hostmaster.invalid");
  for (const uint32_t field : {1u, 3600u, 600u, 86400u, minimum}) PutU32(&data, field);
  return data;
}

std::string TxtData(absl::string_view text) {
  std::string data;
  do {
    const absl::string_view piece = text.substr(0, 255);
    data.push_back(static_cast<char>(piece.size()));
    data.append(piece.data(), piece.size());
    text.remove_prefix(piece.size());
  } while (!text.empty());
  return data;
}

std::string WriteAnswer(const Question& question, const AnswerHeader& header,
                        const std::vector<ResourceRecord>& answers, const std::vector<ResourceRecord>& authority) {
  std::string out;
  PutU16(&out, question.id);
  uint32_t flags = 0x8080 | static_cast<uint32_t>(header.rcode);  // QR, RA
  if (question.recursion_desired) flags |= 0x0100;
  if (header.truncated) flags |= 0x0200;
  if (header.authenticated) flags |= 0x0020;
  PutU16(&out, flags);
  PutU16(&out, 1);
  PutU16(&out, static_cast<uint32_t>(answers.size()));
  PutU16(&out, static_cast<uint32_t>(authority.size()));
  PutU16(&out, 0);
  absl::StrAppend(&out, EncodeName(question.name));
  PutU16(&out, question.type);
  PutU16(&out, kClassIn);
  for (const ResourceRecord& record : answers) PutRecord(&out, record);
  for (const ResourceRecord& record : authority) PutRecord(&out, record);
  return out;
}

}  // namespace posthouse::routing::dns
