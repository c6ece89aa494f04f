#include "services/common/store/conformance/linearizability.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"

namespace posthouse::store {
namespace {

class Search {
 public:
  explicit Search(std::vector<RegisterOp> history) : ops_(std::move(history)), done_(ops_.size(), '0') {
    for (RegisterOp& op : ops_) {
      if (op.outcome == RegisterOp::Outcome::kUnknown) op.end = std::numeric_limits<int64_t>::max();
    }
    std::sort(ops_.begin(), ops_.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
  }

  bool From(const RegisterValue& value) {
    // Every operation that must have happened has; the unknown ones need not.
    int64_t earliest_end = std::numeric_limits<int64_t>::max();
    bool complete = true;
    for (size_t i = 0; i < ops_.size(); ++i) {
      if (done_[i] == '1') continue;
      if (ops_[i].outcome != RegisterOp::Outcome::kUnknown) complete = false;
      earliest_end = std::min(earliest_end, ops_[i].end);
    }
    if (complete) return true;
    if (!seen_.insert(done_ + (value ? "=" + *value : "-")).second) return false;
    for (size_t i = 0; i < ops_.size(); ++i) {
      // Next can only be what began before anything that is still to come ended.
      if (ops_[i].start > earliest_end) break;
      if (done_[i] == '1') continue;
      RegisterValue next = value;
      if (!Apply(ops_[i], &next)) continue;
      done_[i] = '1';
      if (From(next)) return true;
      done_[i] = '0';
    }
    return false;
  }

 private:
  // False: `op` would not have had its result at this value.
  static bool Apply(const RegisterOp& op, RegisterValue* value) {
    using Outcome = RegisterOp::Outcome;
    switch (op.kind) {
      case RegisterOp::Kind::kRead:
        return op.outcome == Outcome::kUnknown || *value == op.value;
      case RegisterOp::Kind::kWrite:
        *value = op.value;
        return true;
      case RegisterOp::Kind::kCompareAndSet:
        if (op.outcome == Outcome::kConflict) return *value != op.expected;
        if (*value != op.expected) return op.outcome == Outcome::kUnknown;  // happened, changed nothing
        *value = op.value;
        return true;
    }
    return false;
  }

  std::vector<RegisterOp> ops_;
  std::string done_;  // '1' at each operation that is placed
  absl::flat_hash_set<std::string> seen_;
};

}  // namespace

bool IsLinearizable(RegisterValue initial, std::vector<RegisterOp> history) {
  return Search(std::move(history)).From(initial);
}

}  // namespace posthouse::store
