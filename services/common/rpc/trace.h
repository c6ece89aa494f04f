// W3C Trace Context: one trace id from the SMTP session to the IMAP fetch.
// https://www.w3.org/TR/trace-context/ §3.2: "00-<trace id>-<parent id>-<flags>".
// Threads: a value. New() and Child() never fail.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace posthouse::rpc {

struct TraceContext {
  std::string trace_id;   // 32 lower-case hex digits, not all zero
  std::string parent_id;  // 16 lower-case hex digits, not all zero
  bool sampled = true;

  static TraceContext New();                                           // random ids
  static std::optional<TraceContext> Parse(absl::string_view header);  // nullopt: not valid
  TraceContext Child() const;                                          // same trace, new parent id
  std::string ToHeader() const;
};

}  // namespace posthouse::rpc
