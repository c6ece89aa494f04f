// tenant, domain, account, alias, password: what the directory knows.
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/mail_formats/address/address.h"
#include "services/common/status/status.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/output.h"
#include "tools/posthousectl/secret.h"

namespace posthouse::ctl {
namespace {

namespace v1 = directory::v1;
using AdminStub = v1::DirectoryAdminService::Stub;
using LookupStub = v1::DirectoryService::Stub;

template <typename Request, typename Response>
absl::Status Admin(Context& context, grpc::Status (AdminStub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request, Response* response) {
  return context.Call(context.targets.directory, &v1::DirectoryAdminService::NewStub, method, request, response);
}

// Every page of a list.
template <typename Request, typename Response, typename Take>
absl::Status AdminList(Context& context,
                       grpc::Status (AdminStub::*method)(grpc::ClientContext*, const Request&, Response*),
                       Request request, Take take) {
  request.mutable_page()->set_page_size(1000);
  while (true) {
    Response response;
    PH_RETURN_IF_ERROR(Admin(context, method, request, &response));
    take(response);
    if (response.page().next_page_token().empty()) return absl::OkStatus();
    request.mutable_page()->set_page_token(response.page().next_page_token());
  }
}

std::string StatusName(v1::Status status) {
  if (status == v1::STATUS_UNSPECIFIED) return "active";
  return absl::AsciiStrToLower(absl::StripPrefix(v1::Status_Name(status), "STATUS_"));
}

absl::StatusOr<v1::Status> ParseStatus(const std::string& name) {
  v1::Status status = v1::STATUS_UNSPECIFIED;
  if (v1::Status_Parse(absl::StrCat("STATUS_", absl::AsciiStrToUpper(name)), &status) &&
      status != v1::STATUS_UNSPECIFIED) {
    return status;
  }
  return absl::InvalidArgumentError(absl::StrCat("--status is \"", name, "\": active, suspended, frozen or deleted"));
}

// "500MiB", "2GiB", "1000000"; "none" and 0 take the limit away.
absl::StatusOr<uint64_t> ParseBytes(absl::string_view flag, const std::string& text) {
  if (text == "none") return uint64_t{0};
  absl::string_view number = text;
  uint64_t unit = 1;
  if (absl::ConsumeSuffix(&number, "KiB")) unit = uint64_t{1} << 10;
  if (absl::ConsumeSuffix(&number, "MiB")) unit = uint64_t{1} << 20;
  if (absl::ConsumeSuffix(&number, "GiB")) unit = uint64_t{1} << 30;
  if (absl::ConsumeSuffix(&number, "TiB")) unit = uint64_t{1} << 40;
  uint64_t value = 0;
  if (!absl::SimpleAtoi(number, &value) || value > (uint64_t{1} << 62) / unit) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", flag, " is \"", text, "\": a size like 500MiB or 2GiB, or none"));
  }
  return value * unit;
}

absl::Status SetLimits(const Arguments& arguments, v1::Limits* limits) {
  if (const auto quota = arguments.Get("quota")) {
    PH_ASSIGN_OR_RETURN(const uint64_t bytes, ParseBytes("quota", *quota));
    limits->set_storage_bytes(bytes);
  }
  if (const auto messages = arguments.Get("quota-messages")) {
    PH_ASSIGN_OR_RETURN(const uint64_t count, ParseBytes("quota-messages", *messages));
    limits->set_messages(count);
  }
  return absl::OkStatus();
}

std::vector<Flag> LimitFlags() {
  return {{"quota", "SIZE", "storage, e.g. 2GiB; none takes the limit away"},
          {"quota-messages", "N", "messages; none takes the limit away"}};
}

std::vector<Flag> Join(std::vector<Flag> a, const std::vector<Flag>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::string LimitOf(uint64_t bytes) { return bytes == 0 ? "-" : FormatBytes(bytes); }

// ---- tenants

absl::Status TenantAdd(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::CreateTenantRequest request;
  request.mutable_tenant()->set_tenant(context.arguments.operands()[0]);
  request.mutable_tenant()->set_display_name(context.arguments.GetOr("display-name", ""));
  PH_RETURN_IF_ERROR(SetLimits(context.arguments, request.mutable_tenant()->mutable_limits()));
  v1::CreateTenantResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::CreateTenant, request, &response));
  context.Report(response.tenant(), "added tenant " + response.tenant().tenant());
  return absl::OkStatus();
}

absl::Status TenantList(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(0, 0));
  Listing listing(context.json, context.out, {"TENANT", "STATUS", "QUOTA", "NAME"});
  const auto add = [&](const v1::ListTenantsResponse& page) {
    for (const v1::Tenant& t : page.tenants()) {
      listing.Add(
          t, {t.tenant(), StatusName(t.status()), LimitOf(t.limits().storage_bytes()), Printable(t.display_name())});
    }
  };
  PH_RETURN_IF_ERROR(AdminList(context, &AdminStub::ListTenants, v1::ListTenantsRequest(), add));
  listing.Finish();
  return absl::OkStatus();
}

// ---- domains

absl::Status FillDomain(const Arguments& arguments, v1::Domain* domain) {
  if (const auto value = arguments.Get("tenant")) domain->set_tenant(*value);
  if (const auto value = arguments.Get("catch-all")) domain->set_catch_all(*value);
  if (const auto value = arguments.Get("alias-of")) domain->set_alias_of(*value);
  if (const auto value = arguments.Get("subaddress-separators")) domain->set_subaddress_separators(*value);
  if (const auto value = arguments.Get("status")) {
    PH_ASSIGN_OR_RETURN(const v1::Status status, ParseStatus(*value));
    domain->set_status(status);
  }
  return SetLimits(arguments, domain->mutable_limits());
}

std::vector<Flag> DomainFlags() {
  return Join({{"tenant", "NAME", "whose it is (default \"default\")"},
               {"catch-all", "ADDRESS", "takes mail for unknown local parts; \"\" refuses them"},
               {"alias-of", "DOMAIN", "another name of that domain"},
               {"subaddress-separators", "CHARS", "user+detail is user's; \"\" switches it off (default +)"},
               {"status", "STATUS", "active, suspended, frozen or deleted"}},
              LimitFlags());
}

absl::Status CreateDomain(Context& context, const v1::Domain& domain, v1::CreateDomainResponse* response) {
  v1::CreateDomainRequest request;
  *request.mutable_domain() = domain;
  return Admin(context, &AdminStub::CreateDomain, request, response);
}

absl::Status DomainAdd(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::Domain domain;
  domain.set_domain(context.arguments.operands()[0]);
  domain.set_subaddress_separators("+");
  PH_RETURN_IF_ERROR(FillDomain(context.arguments, &domain));
  v1::CreateDomainResponse response;
  PH_RETURN_IF_ERROR(CreateDomain(context, domain, &response));
  context.Report(response.domain(), "added domain " + response.domain().domain());
  return absl::OkStatus();
}

absl::StatusOr<v1::GetDomainResponse> GetDomain(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::GetDomainRequest request;
  request.set_domain(context.arguments.operands()[0]);
  v1::GetDomainResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::GetDomain, request, &response));
  return response;
}

absl::Status DomainSet(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetDomainResponse current, GetDomain(context));
  v1::UpdateDomainRequest request;
  *request.mutable_domain() = current.domain();  // its revision guards against somebody else's change
  PH_RETURN_IF_ERROR(FillDomain(context.arguments, request.mutable_domain()));
  v1::UpdateDomainResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::UpdateDomain, request, &response));
  context.Report(response.domain(), "changed domain " + response.domain().domain());
  return absl::OkStatus();
}

absl::Status DomainShow(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetDomainResponse response, GetDomain(context));
  if (context.json) {
    context.out << ToJson(response) << "\n";
    return absl::OkStatus();
  }
  const v1::Domain& d = response.domain();
  const auto or_none = [](const std::string& text) { return text.empty() ? std::string("-") : Printable(text); };
  context.out << "domain       " << d.domain() << "\ntenant       " << d.tenant() << "\nstatus       "
              << StatusName(d.status()) << "\nalias of     " << or_none(d.alias_of()) << "\ncatch-all    "
              << or_none(d.catch_all()) << "\nsubaddress   " << or_none(d.subaddress_separators()) << "\nquota        "
              << LimitOf(d.limits().storage_bytes()) << " an account\naccounts     " << response.accounts()
              << "\naliases      " << response.aliases() << "\n";
  return absl::OkStatus();
}

absl::Status DomainList(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(0, 0));
  v1::ListDomainsRequest request;
  request.set_tenant(context.arguments.GetOr("tenant", ""));
  Listing listing(context.json, context.out, {"DOMAIN", "TENANT", "STATUS", "ALIAS OF", "CATCH-ALL"});
  PH_RETURN_IF_ERROR(AdminList(context, &AdminStub::ListDomains, request, [&](const v1::ListDomainsResponse& page) {
    for (const v1::Domain& d : page.domains()) {
      listing.Add(d, {d.domain(), d.tenant(), StatusName(d.status()), d.alias_of().empty() ? "-" : d.alias_of(),
                      d.catch_all().empty() ? "-" : Printable(d.catch_all())});
    }
  }));
  listing.Finish();
  return absl::OkStatus();
}

absl::Status DomainDelete(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::DeleteDomainRequest request;
  request.set_domain(context.arguments.operands()[0]);
  v1::DeleteDomainResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::DeleteDomain, request, &response));
  context.Report("deleted domain " + request.domain());
  return absl::OkStatus();
}

// ---- accounts

void ShowGenerated(Context& context, const Secret& secret) {
  if (!secret.generated) return;
  if (context.json) {
    context.out << "{\"password\":\"" << secret.text << "\"}\n";
  } else {
    context.out << "password: " << secret.text << "  (shown this once)\n";
  }
}

// Adds the domain of a new account, when it is not there yet; `*added` says whether.
absl::Status EnsureDomain(Context& context, const std::string& address, std::string* added) {
  PH_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(address));
  v1::Domain domain;
  domain.set_domain(parsed.domain);
  domain.set_tenant(context.arguments.GetOr("tenant", ""));
  domain.set_subaddress_separators("+");
  v1::CreateDomainResponse response;
  const absl::Status status = CreateDomain(context, domain, &response);
  if (absl::IsAlreadyExists(status)) return absl::OkStatus();
  if (!status.ok()) return status;
  *added = response.domain().domain();
  context.Report("added domain " + *added);
  return absl::OkStatus();
}

// RFC 5321 §4.5.1: every domain that takes mail takes it for postmaster. The first
// account of a new domain gets it, until an administrator says otherwise.
absl::Status AddPostmaster(Context& context, const std::string& domain, const std::string& account) {
  v1::CreateAliasRequest request;
  request.mutable_alias()->set_address(absl::StrCat("postmaster@", domain));
  request.mutable_alias()->add_targets(account);
  if (request.alias().address() == account) return absl::OkStatus();
  v1::CreateAliasResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::CreateAlias, request, &response));
  context.Report(absl::StrCat("added alias ", response.alias().address(), " to ", account));
  return absl::OkStatus();
}

absl::Status AccountAdd(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::CreateAccountRequest request;
  v1::Account& account = *request.mutable_account();
  account.set_address(context.arguments.operands()[0]);
  account.set_display_name(context.arguments.GetOr("display-name", ""));
  account.set_home(context.arguments.GetOr("home", ""));
  PH_RETURN_IF_ERROR(SetLimits(context.arguments, account.mutable_limits()));
  PH_ASSIGN_OR_RETURN(const Secret secret, ReadSecret(context.arguments, context.in, context.err));
  if (secret.kind == Secret::Kind::kPassword) request.set_password(secret.text);
  if (secret.kind == Secret::Kind::kHash) request.set_password_hash(secret.text);
  std::string domain;
  if (context.arguments.Has("create-domain")) PH_RETURN_IF_ERROR(EnsureDomain(context, account.address(), &domain));
  v1::CreateAccountResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::CreateAccount, request, &response));
  context.Report(response.account(), "added account " + response.account().address());
  ShowGenerated(context, secret);
  if (!domain.empty()) return AddPostmaster(context, domain, response.account().address());
  return absl::OkStatus();
}

absl::StatusOr<v1::GetAccountResponse> GetAccount(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::GetAccountRequest request;
  request.set_address(context.arguments.operands()[0]);
  v1::GetAccountResponse response;
  PH_RETURN_IF_ERROR(context.Call(context.targets.directory, &v1::DirectoryService::NewStub, &LookupStub::GetAccount,
                                  request, &response));
  return response;
}

absl::Status AccountShow(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetAccountResponse response, GetAccount(context));
  if (context.json) {
    context.out << ToJson(response) << "\n";
    return absl::OkStatus();
  }
  const v1::Account& a = response.account();
  context.out << "account      " << a.address() << "\nid           " << a.account_id() << "\ntenant       "
              << a.tenant() << "\nname         " << (a.display_name().empty() ? "-" : Printable(a.display_name()))
              << "\nstatus       " << StatusName(a.status()) << "\nhome         " << (a.home().empty() ? "-" : a.home())
              << "\npassword     " << (a.has_password() ? "set" : "none: nobody can log in") << "\nquota        "
              << LimitOf(response.effective_limits().storage_bytes()) << "\ncreated      "
              << ShowTime(TimeOf(a.created())) << "\n";
  return absl::OkStatus();
}

absl::Status AccountSet(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetAccountResponse current, GetAccount(context));
  v1::UpdateAccountRequest request;
  v1::Account& account = *request.mutable_account();
  account = current.account();
  if (const auto value = context.arguments.Get("display-name")) account.set_display_name(*value);
  if (const auto value = context.arguments.Get("status")) {
    PH_ASSIGN_OR_RETURN(const v1::Status status, ParseStatus(*value));
    account.set_status(status);
  }
  PH_RETURN_IF_ERROR(SetLimits(context.arguments, account.mutable_limits()));
  v1::UpdateAccountResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::UpdateAccount, request, &response));
  context.Report(response.account(), "changed account " + response.account().address());
  return absl::OkStatus();
}

absl::Status AccountList(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(0, 0));
  v1::ListAccountsRequest request;
  request.set_domain(context.arguments.GetOr("domain", ""));
  request.set_tenant(context.arguments.GetOr("tenant", ""));
  Listing listing(context.json, context.out, {"ACCOUNT", "TENANT", "STATUS", "PASSWORD", "QUOTA", "NAME"});
  PH_RETURN_IF_ERROR(AdminList(context, &AdminStub::ListAccounts, request, [&](const v1::ListAccountsResponse& page) {
    for (const v1::Account& a : page.accounts()) {
      listing.Add(a, {a.address(), a.tenant(), StatusName(a.status()), a.has_password() ? "set" : "none",
                      LimitOf(a.limits().storage_bytes()), Printable(a.display_name())});
    }
  }));
  listing.Finish();
  return absl::OkStatus();
}

absl::Status AccountDelete(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::DeleteAccountRequest request;
  request.set_address(context.arguments.operands()[0]);
  v1::DeleteAccountResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::DeleteAccount, request, &response));
  context.Report("deleted account " + request.address());
  return absl::OkStatus();
}

// ---- aliases

absl::Status AliasAdd(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(2, 1000));
  v1::CreateAliasRequest request;
  const std::vector<std::string>& words = context.arguments.operands();
  request.mutable_alias()->set_address(words[0]);
  for (size_t i = 1; i < words.size(); ++i) request.mutable_alias()->add_targets(words[i]);
  request.mutable_alias()->set_display_name(context.arguments.GetOr("display-name", ""));
  v1::CreateAliasResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::CreateAlias, request, &response));
  context.Report(response.alias(), absl::StrCat("added alias ", response.alias().address(), " to ",
                                                absl::StrJoin(response.alias().targets(), ", ")));
  return absl::OkStatus();
}

absl::Status AliasList(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(0, 0));
  v1::ListAliasesRequest request;
  request.set_domain(context.arguments.GetOr("domain", ""));
  request.set_tenant(context.arguments.GetOr("tenant", ""));
  Listing listing(context.json, context.out, {"ALIAS", "TENANT", "STATUS", "TARGETS"});
  PH_RETURN_IF_ERROR(AdminList(context, &AdminStub::ListAliases, request, [&](const v1::ListAliasesResponse& page) {
    for (const v1::Alias& a : page.aliases()) {
      listing.Add(a, {a.address(), a.tenant(), StatusName(a.status()), absl::StrJoin(a.targets(), ", ")});
    }
  }));
  listing.Finish();
  return absl::OkStatus();
}

absl::Status AliasDelete(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::DeleteAliasRequest request;
  request.set_address(context.arguments.operands()[0]);
  v1::DeleteAliasResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::DeleteAlias, request, &response));
  context.Report("deleted alias " + request.address());
  return absl::OkStatus();
}

// ---- passwords

absl::Status PasswordSet(Context& context) {
  PH_RETURN_IF_ERROR(context.arguments.ExpectOperands(1, 1));
  v1::SetPasswordRequest request;
  request.set_address(context.arguments.operands()[0]);
  PH_ASSIGN_OR_RETURN(const Secret secret, ReadSecret(context.arguments, context.in, context.err));
  if (secret.kind == Secret::Kind::kPassword) request.set_password(secret.text);
  if (secret.kind == Secret::Kind::kHash) request.set_password_hash(secret.text);
  v1::SetPasswordResponse response;
  PH_RETURN_IF_ERROR(Admin(context, &AdminStub::SetPassword, request, &response));
  context.Report(secret.kind == Secret::Kind::kNone ? "password removed" : "password changed");
  ShowGenerated(context, secret);
  return absl::OkStatus();
}

const Flag kTenantFlag = {"tenant", "NAME", "only this tenant's"};
const Flag kDomainFlag = {"domain", "DOMAIN", "only in this domain"};
const Flag kNameFlag = {"display-name", "TEXT", "for people"};

}  // namespace

std::vector<Command> DirectoryCommands() {
  return {
      {"tenant add", "NAME", "Add a tenant.", Join({kNameFlag}, LimitFlags()), TenantAdd},
      {"tenant list", "", "List tenants.", {}, TenantList},
      {"domain add", "DOMAIN", "Take mail for a domain.", DomainFlags(), DomainAdd},
      {"domain set", "DOMAIN", "Change what the flags name.", DomainFlags(), DomainSet},
      {"domain show", "DOMAIN", "Show a domain and what is in it.", {}, DomainShow},
      {"domain list", "", "List domains.", {kTenantFlag}, DomainList},
      {"domain delete", "DOMAIN", "Delete a domain without accounts and aliases.", {}, DomainDelete},
      {"account add", "ADDRESS", "Add an account; asks for its password.",
       Join(Join({{"create-domain", "", "add its domain too, if it is new, with postmaster as an alias"},
                  {"tenant", "NAME", "of a domain that is added"},
                  {"home", "SHARD", "mailbox shard"},
                  kNameFlag},
                 SecretFlags()),
            LimitFlags()),
       AccountAdd},
      {"account set", "ADDRESS", "Change what the flags name.",
       Join({kNameFlag, {"status", "STATUS", "active, suspended, frozen or deleted"}}, LimitFlags()), AccountSet},
      {"account show", "ADDRESS", "Show an account.", {}, AccountShow},
      {"account list", "", "List accounts.", {kDomainFlag, kTenantFlag}, AccountList},
      {"account delete", "ADDRESS", "Delete an account.", {}, AccountDelete},
      {"alias add", "ADDRESS TARGET...", "Add an alias, a forward or a group.", {kNameFlag}, AliasAdd},
      {"alias list", "", "List aliases.", {kDomainFlag, kTenantFlag}, AliasList},
      {"alias delete", "ADDRESS", "Delete an alias.", {}, AliasDelete},
      {"password set", "ADDRESS", "Change a password; asks for it.", SecretFlags(), PasswordSet},
  };
}

}  // namespace posthouse::ctl
