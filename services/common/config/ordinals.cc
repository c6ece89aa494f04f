#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/config/config.h"
#include "services/common/status/status.h"

namespace posthouse::config {
namespace {

constexpr uint32_t kMostOrdinals = 1000;

struct Range {
  std::string text;  // "{0..2}"
  uint32_t first = 0, last = 0;
};

// The first "{A..B}" of `text`, or nullopt without a brace.
absl::StatusOr<std::optional<Range>> FindRange(const std::string& text) {
  const size_t begin = text.find('{');
  if (begin == std::string::npos) return std::optional<Range>();
  const size_t dots = text.find("..", begin);
  const size_t end = text.find('}', begin);
  Range range;
  if (dots == std::string::npos || end == std::string::npos || dots > end ||
      !absl::SimpleAtoi(text.substr(begin + 1, dots - begin - 1), &range.first) ||
      !absl::SimpleAtoi(text.substr(dots + 2, end - dots - 2), &range.last) || range.first > range.last ||
      range.last - range.first >= kMostOrdinals) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": a range is {FIRST..LAST}, as {0..2}, of at most ", kMostOrdinals, " numbers"));
  }
  range.text = text.substr(begin, end - begin + 1);
  return std::optional<Range>(std::move(range));
}

absl::StatusOr<std::string> WithOrdinal(const std::string& text, const Range& range, uint32_t ordinal) {
  std::string out = absl::StrReplaceAll(text, {{range.text, absl::StrCat(ordinal)}});
  if (out.find('{') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": name and target have one range, ", range.text));
  }
  return out;
}

using Shards = google::protobuf::RepeatedPtrField<v1::Shard>;
using Targets = google::protobuf::RepeatedPtrField<std::string>;

absl::Status Expand(Shards* shards) {
  Shards all;
  for (const v1::Shard& shard : *shards) {
    PH_ASSIGN_OR_RETURN(std::optional<Range> range, FindRange(shard.name()));
    if (!range) {
      PH_ASSIGN_OR_RETURN(range, FindRange(shard.target()));
    }
    if (!range) {
      *all.Add() = shard;
      continue;
    }
    for (uint32_t ordinal = range->first; ordinal <= range->last; ++ordinal) {
      v1::Shard* const one = all.Add();
      PH_ASSIGN_OR_RETURN(*one->mutable_name(), WithOrdinal(shard.name(), *range, ordinal));
      PH_ASSIGN_OR_RETURN(*one->mutable_target(), WithOrdinal(shard.target(), *range, ordinal));
    }
  }
  shards->Swap(&all);
  return absl::OkStatus();
}

absl::Status Expand(Targets* targets) {
  Targets all;
  for (const std::string& target : *targets) {
    PH_ASSIGN_OR_RETURN(const std::optional<Range> range, FindRange(target));
    if (!range) {
      *all.Add() = target;
      continue;
    }
    for (uint32_t ordinal = range->first; ordinal <= range->last; ++ordinal) {
      PH_ASSIGN_OR_RETURN(*all.Add(), WithOrdinal(target, *range, ordinal));
    }
  }
  targets->Swap(&all);
  return absl::OkStatus();
}

}  // namespace

absl::Status ExpandOrdinals(v1::Config* config) {
  if (!config->has_peers()) return absl::OkStatus();
  v1::Peers& peers = *config->mutable_peers();
  if (const absl::Status status = Expand(peers.mutable_queue()); !status.ok()) return Annotate(status, "peers.queue");
  if (const absl::Status status = Expand(peers.mutable_queue_shards()); !status.ok()) {
    return Annotate(status, "peers.queue_shards");
  }
  if (const absl::Status status = Expand(peers.mutable_mailbox()); !status.ok()) {
    return Annotate(status, "peers.mailbox");
  }
  return absl::OkStatus();
}

}  // namespace posthouse::config
