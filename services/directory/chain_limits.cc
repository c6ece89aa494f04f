#include "services/directory/chain_limits.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "services/directory/lookup.h"

namespace posthouse::directory {
namespace {

bool OverLimit(const LookupAnswer& answer) {
  return answer.outcome == LookupAnswer::Outcome::kTooDeep || answer.outcome == LookupAnswer::Outcome::kTooMany;
}

// The domain that has the addresses, and all its names.
struct Family {
  std::vector<std::string> names;
  std::string separators;
};

Family FamilyOf(const Index& index, const v1::Domain* edited, const std::string& name) {
  const auto find = [&](const std::string& n) {
    return edited != nullptr && edited->domain() == n ? edited : index.FindDomain(n);
  };
  const v1::Domain* domain = find(name);
  if (domain != nullptr && !domain->alias_of().empty()) domain = find(domain->alias_of());
  if (domain == nullptr) return {{name}, ""};
  Family family{index.OtherNamesOf(domain->domain()), domain->subaddress_separators()};
  family.names.push_back(domain->domain());
  if (edited != nullptr && edited->alias_of() == domain->domain()) family.names.push_back(edited->domain());
  return family;
}

// The names that lead to `name` in one step.
std::vector<std::string> Above(const Index& index, const v1::Domain* edited, absl::string_view name) {
  std::vector<std::string> above;
  const auto add = [&](std::vector<std::string> names) {
    for (std::string& one : names) above.push_back(std::move(one));
  };
  if (absl::ConsumePrefix(&name, "*@")) {
    for (const std::string& domain : FamilyOf(index, edited, std::string(name)).names) {
      add(index.LeadingInto(domain, kMaxCheckedNames));
    }
    return above;
  }
  const absl::StatusOr<Address> address = ParseAddress(name);
  if (!address.ok()) return above;
  const Family family = FamilyOf(index, edited, address->domain);
  for (const std::string& domain : family.names) {
    add(index.LeadingTo(Address{address->local, domain}, family.separators, kMaxCheckedNames));
  }
  return above;
}

// Looks at `todo` and at all that leads there.
absl::Status Check(const Index& index, const Preview& after, std::vector<std::string> todo) {
  absl::flat_hash_set<std::string> seen(todo.begin(), todo.end());
  for (size_t at = 0; at < todo.size() && at < kMaxCheckedNames; ++at) {
    const std::string name = todo[at];
    const LookupAnswer answer = Expand(index, after, name);
    if (OverLimit(answer) && !OverLimit(Expand(index, Preview(), name))) {
      return absl::InvalidArgumentError(answer.detail);
    }
    for (std::string& above : Above(index, after.domain, name)) {
      if (seen.insert(above).second) todo.push_back(std::move(above));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAliasLimits(const Index& index, const std::string& alias, const std::vector<std::string>& targets) {
  return Check(index, Preview{.alias = alias, .targets = targets}, {alias});
}

absl::Status CheckDomainLimits(const Index& index, const v1::Domain& domain) {
  return Check(index, Preview{.alias = "", .targets = {}, .domain = &domain}, {absl::StrCat("*@", domain.domain())});
}

}  // namespace posthouse::directory
