// Status propagation and what to do with a status that is dropped on purpose.
//
// absl::Status and absl::StatusOr carry every error in Posthouse; the code tells
// the caller what to do (docs/architecture.md, "Errors"), the message tells the
// operator what happened. Threads: everything here is stateless.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace posthouse {

// True when trying again later may succeed: the caller must not treat the
// failure as a definite "no". Everything not known to be permanent is temporary.
bool IsTemporary(const absl::Status& status);

// `status` with "context: " before its message; OK stays OK.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

// A broken invariant of ours: prints `file:line: what` to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, absl::string_view what);

namespace internal {
inline const absl::Status& AsStatus(const absl::Status& s) { return s; }
template <typename T>
const absl::Status& AsStatus(const absl::StatusOr<T>& s) {
  return s.status();
}
}  // namespace internal

}  // namespace posthouse

#define PH_STATUS_CONCAT_(a, b) a##b
#define PH_STATUS_CONCAT(a, b) PH_STATUS_CONCAT_(a, b)

// Aborts when `condition` is false. For our invariants, never for peer input.
#define PH_CHECK(condition)                                                     \
  do {                                                                          \
    if (!(condition)) ::posthouse::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (0)

#define PH_RETURN_IF_ERROR_(ret, expr)                                     \
  do {                                                                     \
    auto ph_status_ = (expr);                                              \
    if (!ph_status_.ok()) ret ::posthouse::internal::AsStatus(ph_status_); \
  } while (0)

#define PH_ASSIGN_OR_RETURN_(ret, tmp, lhs, expr) \
  auto tmp = (expr);                              \
  if (!tmp.ok()) ret tmp.status();                \
  lhs = *std::move(tmp)

// Returns the error from the enclosing function; the CO_ forms are for coroutines.
#define PH_RETURN_IF_ERROR(expr) PH_RETURN_IF_ERROR_(return, expr)
#define PH_CO_RETURN_IF_ERROR(expr) PH_RETURN_IF_ERROR_(co_return, expr)
// PH_ASSIGN_OR_RETURN(auto value, Compute());
#define PH_ASSIGN_OR_RETURN(lhs, ...) \
  PH_ASSIGN_OR_RETURN_(return, PH_STATUS_CONCAT(ph_statusor_, __LINE__), lhs, (__VA_ARGS__))
#define PH_CO_ASSIGN_OR_RETURN(lhs, ...) \
  PH_ASSIGN_OR_RETURN_(co_return, PH_STATUS_CONCAT(ph_statusor_, __LINE__), lhs, (__VA_ARGS__))
