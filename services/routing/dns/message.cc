#include "services/routing/dns/message.h"

#include <arpa/inet.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/common/status/status.h"

namespace posthouse::routing::dns {
namespace {

constexpr size_t kHeaderBytes = 12;
constexpr size_t kMaxNameBytes = 255;  // RFC 1035 §2.3.4
constexpr size_t kMaxChain = 16;       // CNAMEs inside one answer
constexpr uint16_t kClassIn = 1;
constexpr uint32_t kMaxTtl = 0x7FFFFFFF;  // RFC 2181 §8
constexpr uint32_t kNegativeTtlWithoutSoa = 60;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("malformed DNS message: ", what));
}

class Reader {
 public:
  explicit Reader(absl::string_view message) : message_(message) {}
  size_t at() const { return at_; }
  void Seek(size_t at) { at_ = at; }
  bool Has(size_t bytes) const { return message_.size() - at_ >= bytes; }

  std::optional<uint16_t> U16() {
    if (!Has(2)) return std::nullopt;
    const uint16_t value = static_cast<uint16_t>(Byte(at_) << 8 | Byte(at_ + 1));
    at_ += 2;
    return value;
  }
  std::optional<uint32_t> U32() {
    const std::optional<uint16_t> high = U16(), low = high ? U16() : std::nullopt;
    if (!low) return std::nullopt;
    return static_cast<uint32_t>(*high) << 16 | *low;
  }
  // A name, with its compression resolved (RFC 1035 §4.1.4). Pointers must go backwards,
  // so that they end.
  std::optional<std::string> Name() {
    std::string name;
    size_t at = at_, wire = 0;
    bool jumped = false;
    while (true) {
      if (at >= message_.size()) return std::nullopt;
      const size_t length = Byte(at);
      if ((length & 0xC0) == 0xC0) {
        if (at + 1 >= message_.size()) return std::nullopt;
        const size_t target = (length & 0x3F) << 8 | Byte(at + 1);
        if (target >= at) return std::nullopt;
        if (!jumped) at_ = at + 2;
        jumped = true;
        at = target;
        continue;
      }
      if ((length & 0xC0) != 0) return std::nullopt;
      wire += length + 1;
      if (wire > kMaxNameBytes || message_.size() - at - 1 < length) return std::nullopt;
      if (length == 0) break;
      if (!name.empty()) name.push_back('.');
      AppendLabel(message_.substr(at + 1, length), &name);
      at += length + 1;
    }
    if (!jumped) at_ = at + 1;
    return name;
  }

 private:
  size_t Byte(size_t at) const { return static_cast<unsigned char>(message_[at]); }
  static void AppendLabel(absl::string_view label, std::string* name) {
    for (const char c : label) {
      const auto octet = static_cast<unsigned char>(c);
      if (absl::ascii_isalnum(octet) || c == '-' || c == '_') {
        name->push_back(absl::ascii_tolower(octet));
      } else {
        absl::StrAppendFormat(name, "\\%03d", octet);
      }
    }
  }

  const absl::string_view message_;
  size_t at_ = 0;
};

struct Record {
  std::string name;
  uint16_t type = 0;
  uint32_t ttl = 0;
  size_t data_at = 0, data_size = 0;
};

std::optional<Record> ReadRecord(Reader& reader) {
  Record record;
  const std::optional<std::string> name = reader.Name();
  const std::optional<uint16_t> type = name ? reader.U16() : std::nullopt, klass = type ? reader.U16() : std::nullopt;
  const std::optional<uint32_t> ttl = klass ? reader.U32() : std::nullopt;
  const std::optional<uint16_t> size = ttl ? reader.U16() : std::nullopt;
  if (!size || !reader.Has(*size)) return std::nullopt;
  record.name = *name;
  record.type = *klass == kClassIn || *type == static_cast<uint16_t>(RecordType::kOpt) ? *type : 0;
  record.ttl = *ttl > kMaxTtl ? 0 : *ttl;
  record.data_at = reader.at();
  record.data_size = *size;
  reader.Seek(reader.at() + *size);
  return record;
}

// Adds the record to the answer; false when its data is malformed.
bool AddRecord(absl::string_view message, const Record& record, Answer* answer) {
  const absl::string_view data = message.substr(record.data_at, record.data_size);
  char text[INET6_ADDRSTRLEN];
  switch (static_cast<RecordType>(record.type)) {
    case RecordType::kA:
      if (data.size() != 4) return false;
      answer->addresses.emplace_back(inet_ntop(AF_INET, data.data(), text, sizeof(text)));
      return true;
    case RecordType::kAaaa:
      if (data.size() != 16) return false;
      answer->addresses.emplace_back(inet_ntop(AF_INET6, data.data(), text, sizeof(text)));
      return true;
    case RecordType::kMx: {
      Reader reader(message);
      reader.Seek(record.data_at);
      const std::optional<uint16_t> preference = reader.U16();
      const std::optional<std::string> host = preference ? reader.Name() : std::nullopt;
      if (!host || reader.at() > record.data_at + record.data_size) return false;
      answer->mx.push_back({*preference, *host});
      return true;
    }
    case RecordType::kTxt: {
      std::string joined;
      for (size_t at = 0; at < data.size();) {
        const size_t length = static_cast<unsigned char>(data[at]);
        if (data.size() - at - 1 < length) return false;
        joined.append(data.data() + at + 1, length);
        at += length + 1;
      }
      answer->texts.push_back(std::move(joined));
      return true;
    }
    default:
      return true;
  }
}

// RFC 2308 §5: the smaller of the SOA's TTL and its MINIMUM field.
uint32_t NegativeTtl(absl::string_view message, const Record& soa) {
  Reader reader(message);
  reader.Seek(soa.data_at);
  if (!reader.Name() || !reader.Name()) return soa.ttl;
  std::optional<uint32_t> minimum;
  for (int field = 0; field < 5; ++field) minimum = reader.U32();
  return minimum ? std::min(soa.ttl, *minimum) : soa.ttl;
}

struct Header {
  uint16_t flags = 0, questions = 0, answers = 0, authority = 0;
  int rcode() const { return flags & 0x0F; }
  bool authenticated() const { return (flags & 0x20) != 0; }
};

absl::StatusOr<Header> ReadHeader(Reader& reader) {
  if (!reader.Has(kHeaderBytes)) return Malformed("short header");
  Header header;
  reader.U16();
  header.flags = *reader.U16();
  header.questions = *reader.U16();
  header.answers = *reader.U16();
  header.authority = *reader.U16();
  reader.U16();
  return header;
}

}  // namespace

std::string CanonicalName(absl::string_view name) {
  if (!name.empty() && name.back() == '.') name.remove_suffix(1);
  return absl::AsciiStrToLower(name);
}

absl::StatusOr<Answer> ParseAnswer(absl::string_view message, absl::string_view name, RecordType type) {
  Reader reader(message);
  PH_ASSIGN_OR_RETURN(const Header header, ReadHeader(reader));
  if ((header.flags & 0x8000) == 0) return Malformed("not a response");
  if (header.questions != 1) return Malformed("the number of questions is not 1");
  const std::optional<std::string> asked = reader.Name();
  if (!asked || !reader.Has(4)) return Malformed("question");
  if (*asked != CanonicalName(name) || *reader.U16() != static_cast<uint16_t>(type)) {
    return Malformed("a response to another question");
  }
  reader.U16();
  constexpr int kNoError = 0, kNameError = 3;
  if (header.rcode() != kNoError && header.rcode() != kNameError) {
    return absl::UnavailableError(absl::StrCat("DNS server answered rcode ", header.rcode()));
  }
  Answer answer;
  answer.authenticated = header.authenticated();
  // Servers send a CNAME before the records of its target, so one pass follows the chain.
  std::string owner = *asked;
  uint32_t ttl = kMaxTtl;
  size_t chain = 0, kept = 0;
  for (int i = 0; i < header.answers; ++i) {
    const std::optional<Record> record = ReadRecord(reader);
    if (!record) return Malformed("answer record");
    if (record->name != owner) continue;
    if (record->type == static_cast<uint16_t>(RecordType::kCname) && type != RecordType::kCname) {
      Reader target(message);
      target.Seek(record->data_at);
      std::optional<std::string> next = target.Name();
      if (!next || ++chain > kMaxChain) return Malformed("CNAME");
      owner = *std::move(next);
      ttl = std::min(ttl, record->ttl);
    } else if (record->type == static_cast<uint16_t>(type) && kept < kMaxRecords) {
      if (!AddRecord(message, *record, &answer)) return Malformed("record data");
      ttl = std::min(ttl, record->ttl);
      ++kept;
    }
  }
  if (kept > 0) {
    answer.outcome = Answer::Outcome::kRecords;
    answer.ttl = absl::Seconds(ttl);
    return answer;
  }
  bool soa = false;
  for (int i = 0; i < header.authority; ++i) {
    const std::optional<Record> record = ReadRecord(reader);
    if (!record) return Malformed("authority record");
    if (record->type != static_cast<uint16_t>(RecordType::kSoa)) continue;
    soa = true;
    ttl = std::min(ttl, NegativeTtl(message, *record));
  }
  answer.outcome = header.rcode() == kNameError ? Answer::Outcome::kNoSuchName : Answer::Outcome::kNoData;
  answer.ttl = absl::Seconds(soa ? ttl : std::min(ttl, kNegativeTtlWithoutSoa));
  if (answer.outcome == Answer::Outcome::kNoData && chain > 0 && !soa) answer.follow = owner;
  return answer;
}

}  // namespace posthouse::routing::dns
