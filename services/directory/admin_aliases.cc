// Aliases: second addresses, forwards, groups.
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/status/status.h"
#include "services/directory/admin.h"
#include "services/directory/key_schema.h"
#include "services/directory/lookup.h"

namespace posthouse::directory {
namespace {

// Keeps the row far below the store's 64 KiB.
constexpr int kMaxAliasTargets = 500;
constexpr size_t kMaxAliasBytes = 48 * 1024;

absl::Status NoSuchAlias(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("there is no alias ", name));
}

}  // namespace

// `alias` with everything normalised and its tenant set.
absl::StatusOr<v1::Alias> Admin::CheckedAlias(const Index& index, v1::Alias alias) const {
  PH_RETURN_IF_ERROR(CheckStatus(alias.status()));
  PH_RETURN_IF_ERROR(CheckDisplayName(alias.display_name()));
  PH_ASSIGN_OR_RETURN(const Address address, CheckOwnAddress(index, alias.address(), alias.tenant()));
  alias.set_address(address.ToString());
  alias.set_tenant(index.FindDomain(address.domain)->tenant());
  if (alias.targets().empty()) return absl::InvalidArgumentError("targets: at least one address");
  if (alias.targets_size() > kMaxAliasTargets) {
    return absl::InvalidArgumentError(absl::StrCat("targets: at most ", kMaxAliasTargets, "; nest aliases for more"));
  }
  std::vector<std::string> targets;
  absl::flat_hash_set<std::string> seen;
  size_t bytes = 0;
  for (const std::string& text : alias.targets()) {
    absl::StatusOr<Address> target = ParseAddress(text);
    if (!target.ok()) return Annotate(target.status(), absl::StrCat("targets: \"", text, "\""));
    const bool ours = index.FindDomain(target->domain) != nullptr;
    std::string normal = ours ? target->Folded().ToString() : target->ToString();
    bytes += normal.size() + 4;
    if (seen.insert(normal).second) targets.push_back(std::move(normal));
  }
  if (bytes > kMaxAliasBytes)
    return absl::InvalidArgumentError("targets: together at most 48 KiB; nest aliases for more");
  const std::string loop = FindLoop(index, alias.address(), targets);
  if (!loop.empty()) return absl::InvalidArgumentError(absl::StrCat("targets: mail would go round: ", loop));
  alias.clear_targets();
  for (std::string& target : targets) alias.add_targets(std::move(target));
  return alias;
}

Task<absl::StatusOr<v1::CreateAliasResponse>> Admin::CreateAlias(v1::CreateAliasRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  const Index& index = transaction.index();
  PH_CO_ASSIGN_OR_RETURN(v1::Alias alias, CheckedAlias(index, std::move(*request.mutable_alias())));
  PH_CO_ASSIGN_OR_RETURN(const Address address, ParseAddress(alias.address()));
  if (index.HasAccount(address)) {
    co_return absl::AlreadyExistsError(absl::StrCat(alias.address(), " is an account"));
  }
  if (index.FindAlias(address)) co_return absl::AlreadyExistsError(absl::StrCat("alias ", alias.address(), " exists"));
  if (alias.status() == v1::STATUS_UNSPECIFIED) alias.set_status(v1::STATUS_ACTIVE);
  alias.set_revision(transaction.revision());
  alias.mutable_created()->set_seconds(absl::ToUnixSeconds(absl::Now()));
  transaction.Put(AliasKey(address), alias);
  transaction.Note(v1::Change::KIND_ALIAS, alias.address());
  transaction.Apply([alias](Index& i) { i.PutAlias(alias); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, TenantPartition(alias.tenant())));
  v1::CreateAliasResponse response;
  *response.mutable_alias() = std::move(alias);
  co_return response;
}

Task<absl::StatusOr<v1::UpdateAliasResponse>> Admin::UpdateAlias(v1::UpdateAliasRequest request) {
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  PH_CO_ASSIGN_OR_RETURN(v1::Alias alias, CheckedAlias(transaction.index(), std::move(*request.mutable_alias())));
  PH_CO_ASSIGN_OR_RETURN(const Address address, ParseAddress(alias.address()));
  store::ReadRequest read;
  read.partition = TenantPartition(alias.tenant());
  read.keys.push_back(AliasKey(address));
  PH_CO_ASSIGN_OR_RETURN(const store::ReadResult result, co_await records_.store().Read(std::move(read)));
  if (!result.values[0]) co_return NoSuchAlias(alias.address());
  v1::Alias stored;
  PH_CO_RETURN_IF_ERROR(Decode(*result.values[0], &stored));
  PH_CO_RETURN_IF_ERROR(CheckRevision(alias.revision(), stored.revision()));
  if (alias.status() == v1::STATUS_UNSPECIFIED) alias.set_status(stored.status());
  *alias.mutable_created() = stored.created();
  alias.set_revision(transaction.revision());
  transaction.Put(AliasKey(address), alias);
  transaction.Note(v1::Change::KIND_ALIAS, alias.address());
  transaction.Apply([alias](Index& i) { i.PutAlias(alias); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, TenantPartition(alias.tenant())));
  v1::UpdateAliasResponse response;
  *response.mutable_alias() = std::move(alias);
  co_return response;
}

Task<absl::StatusOr<v1::ListAliasesResponse>> Admin::ListAliases(v1::ListAliasesRequest request) {
  std::string prefix = kAliasPrefix;
  std::string tenant = request.tenant();
  if (!request.domain().empty()) {
    PH_CO_ASSIGN_OR_RETURN(const std::string name, NormalizeDomain(request.domain()));
    const std::string owner = records_.Read([&name](const Index& index) {
      const v1::Domain* domain = index.FindDomain(name);
      return domain == nullptr ? std::string() : domain->tenant();
    });
    if (owner.empty() || (!tenant.empty() && tenant != owner)) {
      co_return absl::NotFoundError(absl::StrCat("there is no domain ", name));
    }
    tenant = owner;
    prefix = AliasesOfDomainPrefix(name);
  }
  if (tenant.empty()) tenant = "default";
  PH_CO_ASSIGN_OR_RETURN(Page page, co_await ReadPage(TenantPartition(tenant), std::move(prefix), request.page()));
  v1::ListAliasesResponse response;
  for (const store::Row& row : page.rows) PH_CO_RETURN_IF_ERROR(Decode(row.value, response.add_aliases()));
  response.mutable_page()->set_next_page_token(page.next_token);
  co_return response;
}

Task<absl::StatusOr<v1::DeleteAliasResponse>> Admin::DeleteAlias(v1::DeleteAliasRequest request) {
  PH_CO_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(request.address()));
  const Address address = parsed.Folded();
  PH_CO_ASSIGN_OR_RETURN(Transaction transaction, co_await records_.Begin());
  if (!transaction.index().FindAlias(address)) co_return NoSuchAlias(address.ToString());
  const std::string tenant = transaction.index().FindDomain(address.domain)->tenant();
  transaction.Erase(AliasKey(address));
  transaction.Note(v1::Change::KIND_ALIAS, address.ToString());
  transaction.Apply([address](Index& i) { i.EraseAlias(address); });
  PH_CO_RETURN_IF_ERROR(co_await Commit(transaction, TenantPartition(tenant)));
  co_return v1::DeleteAliasResponse();
}

}  // namespace posthouse::directory
