#include "services/directory/lookup.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace posthouse::directory {
namespace {

using Outcome = LookupAnswer::Outcome;
constexpr size_t kMaxSendAs = 1000;
constexpr size_t kMaxDomainHops = 4;  // admin calls allow 1

using FindDomain = absl::FunctionRef<const v1::Domain*(absl::string_view)>;

// Follows alias_of to the domain that has the addresses.
const v1::Domain* StandsFor(FindDomain find, const v1::Domain* domain, std::vector<std::string>* passed) {
  for (size_t hops = 0; domain != nullptr && !domain->alias_of().empty(); ++hops) {
    if (hops == kMaxDomainHops) return nullptr;
    if (passed != nullptr) passed->push_back(domain->alias_of());
    domain = find(domain->alias_of());
  }
  return domain;
}

const v1::Domain* StandsFor(const Index& index, const v1::Domain* domain) {
  return StandsFor([&](absl::string_view name) { return index.FindDomain(name); }, domain, nullptr);
}

class Expansion {
 public:
  explicit Expansion(const Index& index, const Preview* preview = nullptr) : index_(index), preview_(preview) {}

  LookupAnswer Run(const Address& address) {
    const v1::Domain* domain = FindDomain(address.domain);
    if (domain != nullptr) answer_.tenant = TenantId(domain->tenant());
    if (domain == nullptr || address.is_literal()) {
      Depend(address.domain);
      answer_.outcome = index_.MayBeLost(address.domain) ? Outcome::kSuspended : Outcome::kNotLocal;
      return Take();
    }
    Visit(address, "", 0);
    return Conclude();
  }

  // Where mail for unknown addresses of the domain goes.
  LookupAnswer RunCatchAll(const std::string& name) {
    const v1::Domain* domain = StandsFor([&](absl::string_view n) { return FindDomain(n); }, FindDomain(name), nullptr);
    path_.push_back(absl::StrCat("*@", name));
    if (domain != nullptr && !domain->catch_all().empty()) {
      if (absl::StatusOr<Address> target = ParseAddress(domain->catch_all()); target.ok())
        Visit(*std::move(target), "", 1);
    }
    return Conclude();
  }

 private:
  LookupAnswer Conclude() {
    if (over_limit_) {
      answer_.targets.clear();
      answer_.outcome = *over_limit_;
    } else if (frozen_ || (suspended_ && answer_.targets.empty())) {
      answer_.targets.clear();
      answer_.outcome = Outcome::kSuspended;
    } else {
      answer_.outcome = answer_.targets.empty() ? Outcome::kNoSuchAddress : Outcome::kFound;
    }
    return Take();
  }

  // `detail`: the subaddress of the address before, for targets without their own.
  void Visit(Address address, const std::string& detail, size_t depth) {
    if (over_limit_) return;
    if (depth > kMaxDepth) {
      over_limit_ = Outcome::kTooDeep;
      answer_.detail = absl::StrCat("aliases are nested deeper than ", kMaxDepth, ": ", absl::StrJoin(path_, " -> "),
                                    " -> ", address.ToString());
      return;
    }
    Depend(address.domain);
    const v1::Domain* domain = FindDomain(address.domain);
    if (domain == nullptr) {
      frozen_ |= index_.MayBeLost(address.domain);
      Add(LookupTarget{std::move(address), std::nullopt, ""});
      return;
    }
    std::vector<std::string> passed;
    v1::Status status = index_.EffectiveStatus(*domain);
    domain = StandsFor([&](absl::string_view name) { return FindDomain(name); }, domain, &passed);
    for (const std::string& name : passed) Depend(name);
    if (domain == nullptr) {
      frozen_ |= !passed.empty() && index_.MayBeLost(passed.back());
      return;
    }
    Depend(domain->tenant());
    status = Worse(status, index_.EffectiveStatus(*domain));
    address = address.Folded();
    address.domain = domain->domain();
    if (!Usable(status)) return;
    if (!visited_.insert(address.ToString()).second) return;  // a loop or a duplicate
    path_.push_back(address.ToString());
    Resolve(*domain, address, detail, depth);
    path_.pop_back();
  }

  void Resolve(const v1::Domain& domain, const Address& address, const std::string& detail, size_t depth) {
    if (Exact(address, address, detail, depth)) return;
    Address base{"", address.domain};
    std::string own_detail;
    if (SplitSubaddress(address.local, domain.subaddress_separators(), &base.local, &own_detail) &&
        Exact(base, address, own_detail, depth)) {
      return;
    }
    if (domain.catch_all().empty()) return;
    // Not marked as visited: unknown addresses of one list share the catch-all.
    if (absl::StatusOr<Address> target = ParseAddress(domain.catch_all()); target.ok()) {
      Visit(*std::move(target), "", depth + 1);
    }
  }

  // `base` is looked up, `full` is what was asked for.
  bool Exact(const Address& base, const Address& full, const std::string& detail, size_t depth) {
    Depend(base.ToString());
    if (std::optional<AccountInfo> account = index_.FindAccount(base)) {
      if (account->status == v1::STATUS_DELETED) return false;
      if (Usable(account->status)) Add(LookupTarget{full, std::move(account), detail});
      return true;
    }
    const std::optional<AliasInfo> alias = FindAlias(base);
    if (!alias && index_.MayBeLost(base)) {
      frozen_ = true;
      return true;
    }
    if (!alias || alias->status == v1::STATUS_DELETED) return false;
    if (!Usable(alias->status)) return true;
    for (const std::string& text : alias->targets) {
      absl::StatusOr<Address> target = ParseAddress(text);
      if (target.ok()) Visit(*std::move(target), detail, depth + 1);
    }
    return true;
  }

  std::optional<AliasInfo> FindAlias(const Address& address) const {
    if (preview_ != nullptr && address.ToString() == preview_->alias) return AliasInfo{preview_->targets};
    return index_.FindAlias(address);
  }

  const v1::Domain* FindDomain(absl::string_view name) const {
    const v1::Domain* edited = preview_ == nullptr ? nullptr : preview_->domain;
    return edited != nullptr && edited->domain() == name ? edited : index_.FindDomain(name);
  }

  bool Usable(v1::Status status) {
    // A suspended record may become active at any time.
    if (preview_ != nullptr) return status != v1::STATUS_DELETED;
    if (status == v1::STATUS_FROZEN) frozen_ = true;
    if (status == v1::STATUS_SUSPENDED) suspended_ = true;
    return status == v1::STATUS_ACTIVE || status == v1::STATUS_UNSPECIFIED;
  }

  void Add(LookupTarget target) {
    const std::string key = target.account ? absl::StrCat(target.account->account_id.value(), "+", target.detail)
                                           : target.address.ToString();
    if (!added_.insert(key).second) return;
    if (answer_.targets.size() == kMaxTargets) {
      over_limit_ = Outcome::kTooMany;
      answer_.detail = absl::StrCat(path_.empty() ? target.address.ToString() : path_.front(), " expands to more than ",
                                    kMaxTargets, " addresses");
      return;
    }
    answer_.targets.push_back(std::move(target));
  }

  void Depend(const std::string& name) { depends_on_.insert(name); }

  LookupAnswer Take() {
    if (depends_on_.size() > kMaxDependencies) {
      answer_.depends_on = {"*"};
    } else {
      answer_.depends_on.assign(depends_on_.begin(), depends_on_.end());
      std::sort(answer_.depends_on.begin(), answer_.depends_on.end());
    }
    return std::move(answer_);
  }

  const Index& index_;
  const Preview* const preview_;  // null: none
  LookupAnswer answer_;
  std::optional<Outcome> over_limit_;
  std::vector<std::string> path_;  // the addresses from the first one to the one that is visited
  bool frozen_ = false, suspended_ = false;
  absl::flat_hash_set<std::string> visited_, added_, depends_on_;
};

LookupAnswer LookupPostmaster(const Index& index, absl::string_view hostname) {
  std::vector<std::string> candidates;
  for (absl::string_view name = hostname; !name.empty();) {
    candidates.emplace_back(name);
    const size_t dot = name.find('.');
    name = dot == absl::string_view::npos ? absl::string_view() : name.substr(dot + 1);
  }
  constexpr size_t kOldest = 10;
  for (std::string& domain : index.DomainsByAge(kOldest)) candidates.push_back(std::move(domain));
  LookupAnswer answer;
  for (const std::string& domain : candidates) {
    if (index.FindDomain(domain) == nullptr) continue;
    answer = Expansion(index).Run(Address{"postmaster", domain});
    if (answer.outcome != Outcome::kNoSuchAddress) break;
  }
  answer.depends_on = {"*"};
  return answer;
}

}  // namespace

absl::StatusOr<LookupAnswer> Lookup(const Index& index, absl::string_view text, absl::string_view hostname) {
  // RFC 5321 §4.5.1: "postmaster" without a domain, in any case.
  if (absl::AsciiStrToLower(text) == "postmaster") return LookupPostmaster(index, hostname);
  absl::StatusOr<Address> address = ParseAddress(text);
  if (!address.ok()) return address.status();
  return Expansion(index).Run(*address);
}

std::optional<AccountInfo> FindLogin(const Index& index, absl::string_view username) {
  absl::StatusOr<Address> address = ParseAddress(username);
  if (!address.ok()) return std::nullopt;
  const v1::Domain* given = index.FindDomain(address->domain);
  const v1::Domain* domain = StandsFor(index, given);
  if (domain == nullptr) return std::nullopt;
  Address folded = address->Folded();
  folded.domain = domain->domain();
  std::optional<AccountInfo> account = index.FindAccount(folded);
  if (account) account->status = Worse(account->status, index.EffectiveStatus(*given));
  return account;
}

bool LoginMayBeLost(const Index& index, absl::string_view username) {
  const absl::StatusOr<Address> address = ParseAddress(username);
  if (!address.ok()) return false;
  const v1::Domain* given = index.FindDomain(address->domain);
  if (given == nullptr) return index.MayBeLost(address->domain);
  const v1::Domain* domain = StandsFor(index, given);
  if (domain == nullptr) return index.MayBeLost(given->alias_of());
  Address folded = address->Folded();
  folded.domain = domain->domain();
  return index.MayBeLost(folded);
}

std::vector<std::string> MaySendAs(const Index& index, const AccountInfo& account) {
  std::vector<std::string> own = {account.address.ToString()};
  for (std::string& alias : index.AliasesTo(own[0], kMaxSendAs)) own.push_back(std::move(alias));
  std::vector<std::string> all = own;
  for (const std::string& text : own) {
    const absl::StatusOr<Address> address = ParseAddress(text);
    if (!address.ok()) continue;
    for (const std::string& name : index.OtherNamesOf(address->domain)) {
      all.push_back(Address{address->local, name}.ToString());
    }
  }
  if (all.size() > kMaxSendAs) all.resize(kMaxSendAs);
  return all;
}

std::string FindLoop(const Index& index, const std::string& alias, const std::vector<std::string>& targets) {
  struct Step {
    std::vector<std::string> targets;
    size_t next = 0;
  };
  absl::flat_hash_set<std::string> seen;
  std::vector<std::string> path = {alias};
  std::vector<Step> stack = {Step{targets, 0}};
  while (!stack.empty()) {
    if (stack.back().next == stack.back().targets.size()) {
      stack.pop_back();
      path.pop_back();
      continue;
    }
    const std::string text = stack.back().targets[stack.back().next++];
    absl::StatusOr<Address> target = ParseAddress(text);
    if (!target.ok()) continue;
    const v1::Domain* domain = StandsFor(index, index.FindDomain(target->domain));
    if (domain == nullptr) continue;
    Address folded = target->Folded();
    folded.domain = domain->domain();
    std::optional<AliasInfo> next = index.FindAlias(folded);
    Address base{"", folded.domain};
    std::string detail;
    const bool split = SplitSubaddress(folded.local, domain->subaddress_separators(), &base.local, &detail);
    if (folded.ToString() != alias && !next && split && !index.HasAccount(folded)) {
      next = index.FindAlias(base);
      if (base.ToString() == alias) folded = base;
    }
    if (folded.ToString() == alias) return absl::StrCat(absl::StrJoin(path, " -> "), " -> ", alias);
    if (!next || !seen.insert(folded.ToString()).second) continue;
    path.push_back(folded.ToString());
    stack.push_back(Step{std::move(next->targets), 0});
  }
  return "";
}

LookupAnswer Expand(const Index& index, const Preview& preview, absl::string_view name) {
  if (absl::ConsumePrefix(&name, "*@")) return Expansion(index, &preview).RunCatchAll(std::string(name));
  const absl::StatusOr<Address> address = ParseAddress(name);
  return address.ok() ? Expansion(index, &preview).Run(*address) : LookupAnswer();
}

}  // namespace posthouse::directory
