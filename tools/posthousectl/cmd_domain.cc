// domain: domains for which the system accepts mail.
#include <ostream>

#include "absl/strings/str_cat.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/directory_calls.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

namespace v1 = directory::v1;

absl::Status SetFromFlags(const cli::Arguments& arguments, v1::Domain* domain) {
  if (const auto value = arguments.Get("tenant")) domain->set_tenant(*value);
  if (const auto value = arguments.Get("catch-all")) domain->set_catch_all(*value);
  if (const auto value = arguments.Get("alias-of")) domain->set_alias_of(*value);
  if (const auto value = arguments.Get("subaddress-separators")) domain->set_subaddress_separators(*value);
  if (arguments.Has("status")) domain->set_status(StatusOf(arguments));
  return SetLimits(arguments, domain->mutable_limits());
}

absl::Status Add(Context& context) {
  v1::Domain domain;
  domain.set_domain(context.Operand());
  domain.set_subaddress_separators("+");
  PH_RETURN_IF_ERROR(SetFromFlags(context.arguments, &domain));
  v1::CreateDomainResponse response;
  const absl::Status status = CreateDomain(context, domain, &response);
  if (absl::IsAlreadyExists(status) && context.arguments.Has(kIfAbsent)) {
    context.Report("domain " + domain.domain() + " exists and stays as it is");
    return absl::OkStatus();
  }
  if (!status.ok()) return status;
  context.Report(response.domain(), "added domain " + response.domain().domain());
  return absl::OkStatus();
}

absl::StatusOr<v1::GetDomainResponse> Get(Context& context) {
  v1::GetDomainRequest request;
  request.set_domain(context.Operand());
  v1::GetDomainResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::GetDomain, request, &response));
  return response;
}

absl::Status Set(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetDomainResponse current, Get(context));
  v1::UpdateDomainRequest request;
  *request.mutable_domain() = current.domain();  // with its revision: a concurrent change makes the update fail
  PH_RETURN_IF_ERROR(SetFromFlags(context.arguments, request.mutable_domain()));
  v1::UpdateDomainResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::UpdateDomain, request, &response));
  context.Report(response.domain(), "changed domain " + response.domain().domain());
  return absl::OkStatus();
}

absl::Status Show(Context& context) {
  PH_ASSIGN_OR_RETURN(const v1::GetDomainResponse response, Get(context));
  if (context.json) {
    context.out << ToJson(response) << "\n";
    return absl::OkStatus();
  }
  const v1::Domain& d = response.domain();
  const auto or_none = [](const std::string& text) { return text.empty() ? std::string("-") : Printable(text); };
  context.out << "domain       " << d.domain() << "\ntenant       " << d.tenant() << "\nstatus       "
              << StatusName(d.status()) << "\nalias of     " << or_none(d.alias_of()) << "\ncatch-all    "
              << or_none(d.catch_all()) << "\nsubaddress   " << or_none(d.subaddress_separators()) << "\nquota        "
              << ShowLimit(d.limits().storage_bytes()) << " per account\naccounts     " << response.accounts()
              << "\naliases      " << response.aliases() << "\n";
  return absl::OkStatus();
}

absl::Status List(Context& context) {
  v1::ListDomainsRequest request;
  request.set_tenant(context.arguments.GetOr("tenant", ""));
  Listing listing(context.json, context.out, {"DOMAIN", "TENANT", "STATUS", "ALIAS OF", "CATCH-ALL"});
  PH_RETURN_IF_ERROR(ListAll(context, &AdminStub::ListDomains, request, [&](const v1::ListDomainsResponse& page) {
    for (const v1::Domain& d : page.domains()) {
      listing.Add(d, {d.domain(), d.tenant(), StatusName(d.status()), d.alias_of().empty() ? "-" : d.alias_of(),
                      d.catch_all().empty() ? "-" : Printable(d.catch_all())});
    }
  }));
  listing.Finish();
  return absl::OkStatus();
}

absl::Status Delete(Context& context) {
  v1::DeleteDomainRequest request;
  request.set_domain(context.Operand());
  request.set_with_addresses(context.arguments.Has("with-addresses"));
  request.set_erase_now(context.arguments.Has("erase-now"));
  v1::DeleteDomainResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::DeleteDomain, request, &response));
  context.Report(response, response.accounts() + response.aliases() == 0
                               ? "deleted domain " + request.domain()
                               : absl::StrCat("deleted domain ", request.domain(), " with ", response.accounts(),
                                              " accounts and ", response.aliases(), " aliases"));
  return absl::OkStatus();
}

std::vector<cli::Flag> SettingFlags() {
  return Join(
      {cli::Text("tenant", "NAME", "tenant that owns the domain (default \"default\")"),
       cli::Text("catch-all", "ADDRESS", "address that gets mail for unknown local parts; \"\" refuses such mail"),
       cli::Text("alias-of", "DOMAIN", "domain whose addresses this one shares"),
       cli::Text("subaddress-separators", "CHARS",
                 "characters that start a subaddress, as in user+detail; \"\" for none (default \"+\")"),
       StatusFlag()},
      LimitFlags());
}

}  // namespace

Noun DomainCommands() {
  return {"domain",
          "a domain for which the system accepts mail",
          {
              {{"domain add",
                {{"DOMAIN"}},
                "Add a domain",
                Join({IfAbsentFlag()}, SettingFlags()),
                {"posthousectl domain add example.org", "posthousectl domain add example.net --alias-of example.org"}},
               Add},
              {{"domain set",
                {{"DOMAIN"}},
                "Change the settings that the flags name",
                SettingFlags(),
                {"posthousectl domain set example.org --catch-all office@example.org",
                 "posthousectl domain set example.org --catch-all \"\" --quota none"}},
               Set},
              {{"domain show",
                {{"DOMAIN"}},
                "Show a domain's settings and what it holds",
                {},
                {"posthousectl domain show example.org"}},
               Show},
              {{"domain list", {}, "List the domains", {OnlyTenantFlag()}, {"posthousectl domain list --tenant acme"}},
               List},
              {{"domain delete",
                {{"DOMAIN"}},
                "Delete a domain that has no accounts, and no aliases but postmaster",
                {cli::Switch("with-addresses", "delete its accounts and aliases as well, as \"account delete\" does"),
                 cli::Switch("erase-now", "erase the mail of these accounts at once")},
                {"posthousectl domain delete example.net", "posthousectl domain delete example.net --with-addresses"}},
               Delete},
          }};
}

}  // namespace posthouse::ctl
