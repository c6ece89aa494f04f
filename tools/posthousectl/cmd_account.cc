// account: people who have a mailbox and log in.
#include <ostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
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

absl::StatusOr<v1::GetAccountResponse> Get(Context& context) {
  PH_RETURN_IF_ERROR(context.NeedDirectory());
  v1::GetAccountRequest request;
  request.set_address(context.Operand());
  v1::GetAccountResponse response;
  PH_RETURN_IF_ERROR(context.Call(context.targets.directory, &v1::DirectoryService::NewStub,
                                  &v1::DirectoryService::Stub::GetAccount, request, &response));
  return response;
}

// Ends what an `account add --if-absent` left that was stopped on its way: the postmaster of the domain.
absl::Status KeepAccount(Context& context, const v1::Account& account) {
  context.Report(account, absl::StrCat("account ", account.address(), " exists and stays as it is"));
  if (!context.arguments.Has("create-domain")) return absl::OkStatus();
  PH_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(account.address()));
  const absl::Status status = AddPostmaster(context, parsed.domain, account.address());
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

absl::Status Add(Context& context) {
  const bool if_absent = context.arguments.Has(kIfAbsent);
  if (if_absent) {
    const absl::StatusOr<v1::GetAccountResponse> known = Get(context);
    if (known.ok()) return KeepAccount(context, known->account());
    if (!absl::IsNotFound(known.status())) return known.status();
  }
  v1::CreateAccountRequest request;
  v1::Account& account = *request.mutable_account();
  account.set_address(context.Operand());
  account.set_display_name(context.arguments.GetOr("display-name", ""));
  account.set_home(context.arguments.GetOr("home", ""));
  account.set_account_id(context.arguments.GetOr("account-id", ""));
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
  if (domain.empty() && if_absent && context.arguments.Has("create-domain")) {
    // The call before may have added the domain, and then failed.
    PH_ASSIGN_OR_RETURN(const Address parsed, ParseAddress(response.account().address()));
    domain = parsed.domain;
  }
  if (domain.empty()) return absl::OkStatus();
  const absl::Status postmaster = AddPostmaster(context, domain, response.account().address());
  return if_absent && absl::IsAlreadyExists(postmaster) ? absl::OkStatus() : postmaster;
}

// What the account's mailbox store holds of it. Asks every store that the flags name: the account's own answers,
// another one refuses.
absl::StatusOr<mailbox::v1::GetUsageResponse> GetUsage(Context& context, const v1::Account& account) {
  if (context.targets.mailbox.empty())
    return absl::InvalidArgumentError("no mailbox address: use --server or --mailbox");
  mailbox::v1::GetUsageRequest request;
  request.mutable_account()->set_tenant(account.tenant());
  request.mutable_account()->set_account_id(account.account_id());
  request.mutable_account()->set_home(account.home());
  request.mutable_account()->set_placement_epoch(account.placement_epoch());
  absl::Status status;
  for (const std::string& target : context.targets.mailbox) {
    mailbox::v1::GetUsageResponse response;
    status = context.Call(target, &mailbox::v1::MailboxService::NewStub, &mailbox::v1::MailboxService::Stub::GetUsage,
                          request, &response);
    if (status.ok()) return response;
  }
  return status;
}

absl::Status Show(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetAccountResponse response, Get(context));
  if (context.json) {
    context.out << ToJson(response) << "\n";
    return absl::OkStatus();
  }
  const absl::StatusOr<mailbox::v1::GetUsageResponse> usage = GetUsage(context, response.account());
  const v1::Account& a = response.account();
  context.out << "account      " << a.address() << "\nid           " << a.account_id() << "\ntenant       "
              << a.tenant() << "\nname         " << (a.display_name().empty() ? "-" : Printable(a.display_name()))
              << "\nstatus       " << StatusName(a.status()) << "\nhome         " << (a.home().empty() ? "-" : a.home())
              << "\npassword     " << (a.has_password() ? "set" : "none: nobody can log in") << "\nquota        "
              << ShowLimit(response.effective_limits().storage_bytes()) << "\nusage        "
              << (usage.ok() ? absl::StrCat(FormatBytes(usage->bytes()), " in ", usage->messages(), " messages")
                             : absl::StrCat("not known: ", Printable(usage.status().message())))
              << "\ncreated      " << ShowTime(FromProto(a.created())) << "\n";
  return absl::OkStatus();
}

// Nothing moves the mail of an account whose home changes.
absl::Status CheckNoMail(Context& context, const v1::Account& account) {
  const absl::StatusOr<mailbox::v1::GetUsageResponse> usage = GetUsage(context, account);
  if (!usage.ok()) {
    return Annotate(usage.status(), absl::StrCat("cannot tell whether mail of ", account.address(), " is in \"",
                                                 account.home(), "\" (--force changes the home all the same)"));
  }
  if (usage->messages() == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(account.address(), " has ", usage->messages(), " messages in \"", account.home(),
                   "\", which would stay there and not be seen any more (--force changes the home all the same)"));
}

absl::Status Set(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetAccountResponse current, Get(context));
  v1::UpdateAccountRequest request;
  v1::Account& account = *request.mutable_account();
  account = current.account();  // with its revision: a concurrent change makes the update fail
  if (const auto value = context.arguments.Get("display-name")) account.set_display_name(*value);
  if (context.arguments.Has("status")) account.set_status(StatusOf(context.arguments));
  PH_RETURN_IF_ERROR(SetLimits(context.arguments, account.mutable_limits()));
  if (const auto home = context.arguments.Get("home"); home && *home != account.home()) {
    if (!context.arguments.Has("force")) PH_RETURN_IF_ERROR(CheckNoMail(context, account));
    account.set_home(*home);
    request.set_mail_stays_behind(true);
  }
  v1::UpdateAccountResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::UpdateAccount, request, &response));
  context.Report(response.account(), "changed account " + response.account().address());
  return absl::OkStatus();
}

std::string ShowState(const v1::DeletedAccount& account) {
  switch (account.state()) {
    case v1::DeletedAccount::STATE_KEPT:
      return absl::StrCat("kept until ", ShowTime(FromProto(account.erase_after())));
    case v1::DeletedAccount::STATE_ERASING:
      return "being erased";
    case v1::DeletedAccount::STATE_ERASED:
      return absl::StrCat("erased ", ShowTime(FromProto(account.erased())), ": ", account.messages(), " messages, ",
                          FormatBytes(account.bytes()));
    default:
      return "-";
  }
}

absl::Status ListDeleted(Context& context) {
  PH_RETURN_IF_ERROR(context.NeedDirectory());
  v1::ListDeletedAccountsRequest request;
  request.set_domain(context.arguments.GetOr("domain", ""));
  request.set_tenant(context.arguments.GetOr("tenant", ""));
  request.mutable_page()->set_page_size(1000);
  Listing listing(context.json, context.out, {"ACCOUNT", "TENANT", "ID", "DELETED", "MAIL"});
  while (true) {
    v1::ListDeletedAccountsResponse page;
    PH_RETURN_IF_ERROR(context.Call(context.targets.directory, &v1::DirectoryService::NewStub,
                                    &v1::DirectoryService::Stub::ListDeletedAccounts, request, &page));
    for (const v1::DeletedAccount& a : page.accounts()) {
      listing.Add(a, {a.account().address(), a.account().tenant(), a.account().account_id(),
                      ShowTime(FromProto(a.deleted())), ShowState(a)});
    }
    if (page.page().next_page_token().empty()) break;
    request.mutable_page()->set_page_token(page.page().next_page_token());
  }
  listing.Finish();
  return absl::OkStatus();
}

absl::Status List(Context& context) {
  if (context.arguments.Has("deleted")) return ListDeleted(context);
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
  request.set_erase_now(context.arguments.Has("erase-now"));
  v1::DeleteAccountResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::DeleteAccount, request, &response));
  if (!response.has_deleted()) {
    context.Report(absl::StrCat("the kept mail of ", request.address(), " is erased now"));
    return absl::OkStatus();
  }
  const absl::Time until = FromProto(response.deleted().erase_after());
  context.Report(response, absl::StrCat("deleted account ", response.deleted().account().address(), "; its mail is ",
                                        until > FromProto(response.deleted().deleted())
                                            ? absl::StrCat("kept until ", ShowTime(until))
                                            : "erased now"));
  if (!response.deleted().postmaster().empty()) {
    context.Report(absl::StrCat("deleted alias ", response.deleted().postmaster(), ", which led to it alone"));
  }
  return absl::OkStatus();
}

absl::Status Undelete(Context& context) {
  v1::UndeleteAccountRequest request;
  if (absl::StrContains(context.Operand(), '@')) {
    request.set_address(context.Operand());
  } else {
    request.set_account_id(context.Operand());
  }
  v1::UndeleteAccountResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::UndeleteAccount, request, &response));
  context.Report(response.account(), "account " + response.account().address() + " is back, with its mail");
  return absl::OkStatus();
}

}  // namespace

Noun AccountCommands() {
  return {
      "account",
      "a mailbox and its login",
      {
          {{"account add",
            {{"ADDRESS"}},
            "Add an account; asks for its password unless a flag gives one",
            Join(Join({cli::Switch("create-domain", "add a new domain as well, with postmaster as an alias"),
                       cli::Text("tenant", "NAME", "tenant of the new domain (with --create-domain)"),
                       cli::Text("home", "SHARD",
                                 "mailbox shard that stores the mailbox (default: the one with the fewest accounts)"),
                       cli::Text("account-id", "ID",
                                 "id of an account whose record is damaged, to keep its mail; new: a new mailbox"),
                       DisplayNameFlag(), IfAbsentFlag()},
                      SecretFlags()),
                 LimitFlags()),
            {"posthousectl account add alice@example.org --create-domain",
             "posthousectl account add bob@example.org --generate --quota 2GiB",
             "posthousectl account add carol@example.org --password-file - < secret",
             "posthousectl account add admin@example.org --create-domain --password-file secret --if-absent"}},
           Add},
          {{"account set",
            {{"ADDRESS"}},
            "Change the settings that the flags name",
            Join({DisplayNameFlag(), StatusFlag(),
                  cli::Text("home", "SHARD", "mailbox shard for the mail to come; mail in the old one is not moved"),
                  cli::Switch("force", "change the home although mail stays behind in the old one, out of sight")},
                 LimitFlags()),
            {"posthousectl account set alice@example.org --quota 5GiB",
             "posthousectl account set alice@example.org --status suspended"}},
           Set},
          {{"account show",
            {{"ADDRESS"}},
            "Show an account's settings and what it holds",
            {},
            {"posthousectl account show alice@example.org"}},
           Show},
          {{"account list",
            {},
            "List the accounts",
            {OnlyDomainFlag(), OnlyTenantFlag(),
             cli::Switch("deleted", "list the deleted accounts instead, and what becomes of their mail")},
            {"posthousectl account list --domain example.org", "posthousectl account list --deleted"}},
           List},
          {{"account delete",
            {{"ADDRESS"}},
            "Delete an account; its mail is kept for the grace time (directory.deleted_account_grace), then erased",
            {cli::Switch("erase-now", "erase the mail at once, also that of an account deleted before")},
            {"posthousectl account delete alice@example.org"}},
           Delete},
          {{"account undelete",
            {{"ADDRESS|ID"}},
            "Bring back a deleted account with its password and mail, while the mail is kept",
            {},
            {"posthousectl account undelete alice@example.org"}},
           Undelete},
      }};
}

}  // namespace posthouse::ctl
