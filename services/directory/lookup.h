// From an address to its accounts and foreign addresses. No I/O. In this order:
//
//   1. domain: not local -> kNotLocal; another name of a domain -> that domain
//   2. account of exactly that local part
//   3. alias of exactly that local part: each target starts again at 1
//   4. local part without its subaddress (RFC 5233): account, then alias; the
//      detail goes along to the local targets
//   5. the domain's catch-all
//   6. nothing: kNoSuchAddress
//
// Each address is visited once, so loops end and duplicates vanish. A chain deeper than
// kMaxDepth is kTooDeep, an expansion over kMaxTargets is kTooMany: a definite refusal, since a
// cut expansion would lose mail. Admin calls refuse changes that would lead there (chain_limits.h).
//
// Suspended members of a list are left out while others remain; when none remains, the
// outcome is kSuspended. A frozen member makes the whole answer kSuspended: its account is
// being moved and accepts mail a moment later. So does a name whose row could not be read
// (Index::MayBeLost): it may exist.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/ids/ids.h"
#include "services/directory/index.h"

namespace posthouse::directory {

inline constexpr size_t kMaxDepth = 10;
inline constexpr size_t kMaxTargets = 1000;
// An answer that depends on more names depends on "*".
inline constexpr size_t kMaxDependencies = 200;

// One place that the address leads to.
struct LookupTarget {
  Address address;
  std::optional<AccountInfo> account;  // set when local
  std::string detail;
};

// The answer for one address; `depends_on` names what may change it (kMaxDependencies).
struct LookupAnswer {
  enum class Outcome { kFound, kNoSuchAddress, kNotLocal, kSuspended, kTooDeep, kTooMany };
  Outcome outcome = Outcome::kNoSuchAddress;
  std::vector<LookupTarget> targets;
  TenantId tenant;
  std::vector<std::string> depends_on;
  std::string detail;  // of kTooDeep and kTooMany: the chain, or the number
};

// A bare "postmaster" (RFC 5321 §4.5.1) is looked up in `hostname`, then in its parent
// domains, then in the oldest domains. kInvalidArgument: not an address.
absl::StatusOr<LookupAnswer> Lookup(const Index& index, absl::string_view address, absl::string_view hostname);

// The account of a login name: an account's address, also under another name of its
// domain. Subaddresses and aliases are not login names.
std::optional<AccountInfo> FindLogin(const Index& index, absl::string_view username);

// True when FindLogin() found nothing, and the account may be one whose row could not be read.
bool LoginMayBeLost(const Index& index, absl::string_view username);

// The addresses that an account may use in MAIL FROM and From: its own and the aliases
// with it as a target, each under every name of the domain; at most 1000.
std::vector<std::string> MaySendAs(const Index& index, const AccountInfo& account);

// Would `targets` lead back to `alias`? The chain "a -> b -> a", or "".
std::string FindLoop(const Index& index, const std::string& alias, const std::vector<std::string>& targets);

// One record as an edit would make it, for Expand().
struct Preview {
  std::string alias;                   // address; "": none
  std::vector<std::string> targets;    // of `alias`
  const v1::Domain* domain = nullptr;  // null: none
};
// What `name`, an address or "*@domain" for the domain's unknown addresses, leads to after the
// edit, if everything that is suspended were active.
LookupAnswer Expand(const Index& index, const Preview& preview, absl::string_view name);

}  // namespace posthouse::directory
