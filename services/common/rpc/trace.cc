#include "services/common/rpc/trace.h"

#include <cstdint>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace posthouse::rpc {
namespace {

// Ids need to be unique, not secret. Zero is not a valid id (§3.2.2.3, §3.2.2.4).
uint64_t RandomNonZero() {
  thread_local absl::BitGen generator;
  return absl::Uniform<uint64_t>(absl::IntervalClosed, generator, 1, UINT64_MAX);
}

bool IsLowerHex(absl::string_view s) {
  for (const char c : s) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

bool IsId(absl::string_view s) { return IsLowerHex(s) && s.find_first_not_of('0') != absl::string_view::npos; }

int HexDigit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

}  // namespace

TraceContext TraceContext::New() {
  TraceContext trace;
  trace.trace_id = absl::StrFormat("%016x%016x", RandomNonZero(), RandomNonZero());
  trace.parent_id = absl::StrFormat("%016x", RandomNonZero());
  return trace;
}

// version "-" version-format; a higher version may add fields after the flags
// (https://www.w3.org/TR/trace-context/ §4.3).
std::optional<TraceContext> TraceContext::Parse(absl::string_view header) {
  constexpr size_t kLength = 2 + 1 + 32 + 1 + 16 + 1 + 2;
  if (header.size() < kLength || header.size() > 512) return std::nullopt;
  const absl::string_view version = header.substr(0, 2);
  if (!IsLowerHex(version) || version == "ff") return std::nullopt;
  if (version == "00" ? header.size() != kLength : (header.size() > kLength && header[kLength] != '-')) {
    return std::nullopt;
  }
  if (header[2] != '-' || header[35] != '-' || header[52] != '-') return std::nullopt;
  const absl::string_view trace_id = header.substr(3, 32);
  const absl::string_view parent_id = header.substr(36, 16);
  const absl::string_view flags = header.substr(53, 2);
  if (!IsId(trace_id) || !IsId(parent_id) || !IsLowerHex(flags)) return std::nullopt;
  TraceContext trace;
  trace.trace_id = std::string(trace_id);
  trace.parent_id = std::string(parent_id);
  trace.sampled = (HexDigit(flags[1]) & 1) != 0;
  return trace;
}

TraceContext TraceContext::Child() const {
  TraceContext child = *this;
  child.parent_id = absl::StrFormat("%016x", RandomNonZero());
  return child;
}

std::string TraceContext::ToHeader() const {
  return absl::StrCat("00-", trace_id, "-", parent_id, sampled ? "-01" : "-00");
}

}  // namespace posthouse::rpc
