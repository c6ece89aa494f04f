// Checks a recorded history of one register with compare-and-set for linearizability:
// is there an order of the operations, each at an instant between its start and its
// end, that gives every recorded result?
//
// Wing and Gong's search with Lowe's memo of (operations done, value). The worst case
// is exponential in the operations that overlap, so use few clients.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace posthouse::store {

using RegisterValue = std::optional<std::string>;  // nothing: no row

struct RegisterOp {
  enum class Kind { kRead, kWrite, kCompareAndSet };
  enum class Outcome {
    kOk,
    kConflict,  // a compare-and-set that found another value
    kUnknown,   // it may have happened, now or at any time after its start
  };
  Kind kind = Kind::kRead;
  Outcome outcome = Outcome::kOk;
  RegisterValue expected;  // kCompareAndSet
  RegisterValue value;     // read, or to be written
  int64_t start = 0;
  int64_t end = 0;
};

// `history` may be in any order. A read of unknown outcome is ignored.
bool IsLinearizable(RegisterValue initial, std::vector<RegisterOp> history);

}  // namespace posthouse::store
