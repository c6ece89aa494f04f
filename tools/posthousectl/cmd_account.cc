// account: people who have a mailbox and log in.
#include <ostream>

#include "absl/strings/str_cat.h"
#include "services/common/time/proto_time.h"
#include "services/mail_formats/address/address.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/directory_calls.h"
#include "tools/posthousectl/output.h"
#include "tools/posthousectl/secret.h"

namespace posthouse::ctl {
namespace {

namespace v1 = directory::v1;

// Adds the domain of a new account unless the directory knows it. Returns its name, or "" when it was known.
absl::StatusOr<std::string> EnsureDomain(Context& context, const std::string& address) {
  PH_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(address));
  v1::Domain domain;
  domain.set_domain(parsed.domain);
  domain.set_tenant(context.arguments.GetOr("tenant", ""));
  domain.set_subaddress_separators("+");
  v1::CreateDomainResponse response;
  const absl::Status status = CreateDomain(context, domain, &response);
  if (absl::IsAlreadyExists(status)) return std::string();
  if (!status.ok()) return status;
  context.Report("added domain " + response.domain().domain());
  return response.domain().domain();
}

// RFC 5321 §4.5.1: every domain that takes mail takes it for postmaster. The first account of a new domain gets it,
// until an administrator changes the alias.
absl::Status AddPostmaster(Context& context, const std::string& domain, const std::string& account) {
  v1::CreateAliasRequest request;
  request.mutable_alias()->set_address(absl::StrCat("postmaster@", domain));
  request.mutable_alias()->add_targets(account);
  if (request.alias().address() == account) return absl::OkStatus();
  v1::CreateAliasResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::CreateAlias, request, &response));
  context.Report(absl::StrCat("added alias ", response.alias().address(), " for ", account));
  return absl::OkStatus();
}

absl::Status Add(Context& context) {
  v1::CreateAccountRequest request;
  v1::Account& account = *request.mutable_account();
  account.set_address(context.Operand());
  account.set_display_name(context.arguments.GetOr("display-name", ""));
  account.set_home(context.arguments.GetOr("home", ""));
  PH_RETURN_IF_ERROR(SetLimits(context.arguments, account.mutable_limits()));
  PH_ASSIGN_OR_RETURN(const Secret secret, ReadSecret(context.arguments, context.in, context.err));
  if (secret.kind == Secret::Kind::kPassword) request.set_password(secret.text);
  if (secret.kind == Secret::Kind::kHash) request.set_password_hash(secret.text);
  std::string domain;
  if (context.arguments.Has("create-domain")) {
    PH_ASSIGN_OR_RETURN(domain, EnsureDomain(context, account.address()));
  }
  v1::CreateAccountResponse response;
  const absl::Status status = CallAdmin(context, &AdminStub::CreateAccount, request, &response);
  if (absl::IsNotFound(status)) {
    return absl::NotFoundError(absl::StrCat(status.message(), "; --create-domain adds the domain as well"));
  }
  if (!status.ok()) return status;
  context.Report(response.account(), "added account " + response.account().address());
  ShowGenerated(context, secret);
  if (!domain.empty()) return AddPostmaster(context, domain, response.account().address());
  return absl::OkStatus();
}

absl::StatusOr<v1::GetAccountResponse> Get(Context& context) {
  PH_RETURN_IF_ERROR(context.NeedDirectory());
  v1::GetAccountRequest request;
  request.set_address(context.Operand());
  v1::GetAccountResponse response;
  PH_RETURN_IF_ERROR(context.Call(context.targets.directory, &v1::DirectoryService::NewStub,
                                  &v1::DirectoryService::Stub::GetAccount, request, &response));
  return response;
}

absl::Status Show(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetAccountResponse response, Get(context));
  if (context.json) {
    context.out << ToJson(response) << "\n";
    return absl::OkStatus();
  }
  const v1::Account& a = response.account();
  context.out << "account      " << a.address() << "\nid           " << a.account_id() << "\ntenant       "
              << a.tenant() << "\nname         " << (a.display_name().empty() ? "-" : Printable(a.display_name()))
              << "\nstatus       " << StatusName(a.status()) << "\nhome         " << (a.home().empty() ? "-" : a.home())
              << "\npassword     " << (a.has_password() ? "set" : "none: nobody can log in") << "\nquota        "
              << ShowLimit(response.effective_limits().storage_bytes()) << "\ncreated      "
              << ShowTime(FromProto(a.created())) << "\n";
  return absl::OkStatus();
}

absl::Status Set(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetAccountResponse current, Get(context));
  v1::UpdateAccountRequest request;
  v1::Account& account = *request.mutable_account();
  account = current.account();  // with its revision: a concurrent change makes the update fail
  if (const auto value = context.arguments.Get("display-name")) account.set_display_name(*value);
  if (context.arguments.Has("status")) account.set_status(StatusOf(context.arguments));
  PH_RETURN_IF_ERROR(SetLimits(context.arguments, account.mutable_limits()));
  v1::UpdateAccountResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::UpdateAccount, request, &response));
  context.Report(response.account(), "changed account " + response.account().address());
  return absl::OkStatus();
}

absl::Status List(Context& context) {
  v1::ListAccountsRequest request;
  request.set_domain(context.arguments.GetOr("domain", ""));
  request.set_tenant(context.arguments.GetOr("tenant", ""));
  Listing listing(context.json, context.out, {"ACCOUNT", "TENANT", "STATUS", "PASSWORD", "QUOTA", "NAME"});
  PH_RETURN_IF_ERROR(ListAll(context, &AdminStub::ListAccounts, request, [&](const v1::ListAccountsResponse& page) {
    for (const v1::Account& a : page.accounts()) {
      listing.Add(a, {a.address(), a.tenant(), StatusName(a.status()), a.has_password() ? "set" : "none",
                      ShowLimit(a.limits().storage_bytes()), Printable(a.display_name())});
    }
  }));
  listing.Finish();
  return absl::OkStatus();
}

absl::Status Delete(Context& context) {
  v1::DeleteAccountRequest request;
  request.set_address(context.Operand());
  v1::DeleteAccountResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::DeleteAccount, request, &response));
  context.Report("deleted account " + request.address());
  return absl::OkStatus();
}

}  // namespace

Noun AccountCommands() {
  return {"account",
          "a mailbox and its login",
          {
              {{"account add",
                {{"ADDRESS"}},
                "Add an account; asks for its password unless a flag gives one",
                Join(Join({cli::Switch("create-domain", "add a new domain as well, with postmaster as an alias"),
                           cli::Text("tenant", "NAME", "tenant of the new domain (with --create-domain)"),
                           cli::Text("home", "SHARD", "mailbox shard that stores the mailbox"), DisplayNameFlag()},
                          SecretFlags()),
                     LimitFlags()),
                {"posthousectl account add alice@example.org --create-domain",
                 "posthousectl account add bob@example.org --generate --quota 2GiB",
                 "posthousectl account add carol@example.org --password-file - < secret"}},
               Add},
              {{"account set",
                {{"ADDRESS"}},
                "Change the settings that the flags name",
                Join({DisplayNameFlag(), StatusFlag()}, LimitFlags()),
                {"posthousectl account set alice@example.org --quota 5GiB",
                 "posthousectl account set alice@example.org --status suspended"}},
               Set},
              {{"account show",
                {{"ADDRESS"}},
                "Show an account's settings",
                {},
                {"posthousectl account show alice@example.org"}},
               Show},
              {{"account list",
                {},
                "List the accounts",
                {OnlyDomainFlag(), OnlyTenantFlag()},
                {"posthousectl account list --domain example.org"}},
               List},
              {{"account delete",
                {{"ADDRESS"}},
                "Delete an account",
                {},
                {"posthousectl account delete alice@example.org"}},
               Delete},
          }};
}

}  // namespace posthouse::ctl
