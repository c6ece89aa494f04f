// Checks that an edit makes no chain of aliases and catch-alls that lookups refuse (kMaxDepth, kMaxTargets).
//
// An edit changes what all names above it lead to: aliases and catch-alls that lead to the edited alias, or to unknown
// addresses of the edited domain. A chain that passes the limits already is no reason to refuse an edit, so it can be
// mended step by step. What is suspended counts as active. The nearest kMaxCheckedNames names above are looked at;
// lookups answer kTooDeep or kTooMany for what is missed, and for what the deletion of an account leaves to a
// catch-all.
//
// Pure. Threads: as Index.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/directory/index.h"

namespace posthouse::directory {

inline constexpr size_t kMaxCheckedNames = 200;

// kInvalidArgument: `alias` with these targets, or a name that leads to it, would pass a limit; the message has the
// chain.
absl::Status CheckAliasLimits(const Index& index, const std::string& alias, const std::vector<std::string>& targets);
// The same for a domain that is made or changed: its catch-all, its separators, or the domain that it stands for.
absl::Status CheckDomainLimits(const Index& index, const v1::Domain& domain);

}  // namespace posthouse::directory
