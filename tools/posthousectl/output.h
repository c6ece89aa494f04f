// What posthousectl prints: tables for people, JSON for scripts. No I/O.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/common/time/proto_time.h"

namespace google::protobuf {
class Message;
}

namespace posthouse::ctl {

// Columns are as wide as their widest cell and two blanks apart; the last one is not padded. A table without rows is
// its head alone.
std::string Table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows);

// `message` as one JSON object on one line: proto field names, enums by name, 64-bit
// integers as numbers, Timestamp as RFC 3339 text, Duration as seconds. Unlike proto3's
// own mapping `bytes` are text (mail addresses), with U+FFFD for broken UTF-8. Numbers and
// booleans are there also when they are 0 or false; absent texts, lists, enums and messages
// are left out.
std::string ToJson(const google::protobuf::Message& message);

// Text from a peer, safe on a terminal: "?" for control characters, U+FFFD for broken UTF-8, blanks for line ends.
std::string Printable(absl::string_view text);

std::string ShowTime(absl::Time time);      // local zone, milliseconds; "-" for the epoch (not set)
std::string FormatBytes(uint64_t bytes);    // "712 B", "4.1 KiB"
std::string FormatAge(absl::Duration age);  // "12 ms", "4.2 s", "5 min", "3 h", "2 d"

// Prints a list: with JSON one object a line as they come, else one table at the end.
class Listing {
 public:
  Listing(bool json, std::ostream& out, std::vector<std::string> head);
  void Add(const google::protobuf::Message& message, std::vector<std::string> row);
  size_t size() const { return rows_.size(); }
  void Finish() const;

 private:
  const bool json_;
  std::ostream& out_;
  const std::vector<std::string> head_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace posthouse::ctl
