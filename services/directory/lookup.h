// What an address leads to, in the directory: documented order, no I/O.
//
//   1. domain: not ours -> kNotLocal; another name of a domain -> that domain
//   2. account of exactly that local part
//   3. alias of exactly that local part: each target starts again at 1
//   4. local part without its subaddress (RFC 5233): account, then alias; the
//      detail goes along to the local targets
//   5. the domain's catch-all
//   6. nothing: kNoSuchAddress
//
// Loops are cut (an address is visited once), duplicates removed. A chain deeper
// than kMaxDepth or an expansion over kMaxTargets fails with kFailedPrecondition:
// a temporary failure at the edge, since cutting it would lose somebody's mail.
//
// Suspended members of a list are left out while others remain; alone they make
// the outcome kSuspended. A frozen one makes the whole answer kSuspended: it is
// being moved and takes its mail a moment later.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/directory/index.h"

namespace posthouse::directory {

inline constexpr size_t kMaxDepth = 10;
inline constexpr size_t kMaxTargets = 1000;
// Beyond so many names an answer depends on "*".
inline constexpr size_t kMaxDependencies = 200;

struct LookupTarget {
  Address address;
  std::optional<AccountInfo> account;  // set when local
  std::string detail;
};

struct LookupAnswer {
  enum class Outcome { kFound, kNoSuchAddress, kNotLocal, kSuspended };
  Outcome outcome = Outcome::kNoSuchAddress;
  std::vector<LookupTarget> targets;
  std::string tenant;
  std::vector<std::string> depends_on;
};

// `hostname`: whose postmaster a bare "postmaster" is (RFC 5321 §4.5.1); then its
// parent domains, then the oldest domains are tried. kInvalidArgument: no address.
absl::StatusOr<LookupAnswer> Lookup(const Index& index, absl::string_view address, absl::string_view hostname);

// The account a login name means: its address, also under another name of its
// domain. Subaddresses and aliases are no login names.
std::optional<AccountInfo> FindLogin(const Index& index, absl::string_view username);

// Addresses an account may use in MAIL FROM and From: its own, aliases that name
// it, each under every name of the domain; at most 1000.
std::vector<std::string> MaySendAs(const Index& index, const AccountInfo& account);

// Would `targets` lead back to `alias`? The chain "a -> b -> a", or "".
std::string FindLoop(const Index& index, const std::string& alias, const std::vector<std::string>& targets);

}  // namespace posthouse::directory
