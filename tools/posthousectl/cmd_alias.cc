// alias: addresses that deliver to others.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/directory_calls.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

namespace v1 = directory::v1;

absl::Status Add(Context& context) {
  v1::CreateAliasRequest request;
  v1::Alias& alias = *request.mutable_alias();
  const std::vector<std::string>& words = context.arguments.operands();
  alias.set_address(words[0]);
  for (size_t i = 1; i < words.size(); ++i) alias.add_targets(words[i]);
  alias.set_display_name(context.arguments.GetOr("display-name", ""));
  v1::CreateAliasResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::CreateAlias, request, &response));
  context.Report(response.alias(), absl::StrCat("added alias ", response.alias().address(), " for ",
                                                absl::StrJoin(response.alias().targets(), ", ")));
  return absl::OkStatus();
}

absl::Status List(Context& context) {
  v1::ListAliasesRequest request;
  request.set_domain(context.arguments.GetOr("domain", ""));
  request.set_tenant(context.arguments.GetOr("tenant", ""));
  Listing listing(context.json, context.out, {"ALIAS", "TENANT", "STATUS", "TARGETS"});
  PH_RETURN_IF_ERROR(ListAll(context, &AdminStub::ListAliases, request, [&](const v1::ListAliasesResponse& page) {
    for (const v1::Alias& a : page.aliases()) {
      listing.Add(a, {a.address(), a.tenant(), StatusName(a.status()), absl::StrJoin(a.targets(), ", ")});
    }
  }));
  listing.Finish();
  return absl::OkStatus();
}

absl::Status Delete(Context& context) {
  v1::DeleteAliasRequest request;
  request.set_address(context.Operand());
  v1::DeleteAliasResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::DeleteAlias, request, &response));
  context.Report("deleted alias " + request.address());
  return absl::OkStatus();
}

}  // namespace

Noun AliasCommands() {
  return {"alias",
          "an address that delivers to other addresses",
          {
              {{"alias add",
                {{"ADDRESS"}, {"TARGET", cli::Operand::Times::kOnceOrMore}},
                "Add an alias for one address, or for a group of them",
                {DisplayNameFlag()},
                {"posthousectl alias add info@example.org alice@example.org",
                 "posthousectl alias add team@example.org alice@example.org bob@elsewhere.example"}},
               Add},
              {{"alias list",
                {},
                "List the aliases",
                {OnlyDomainFlag(), OnlyTenantFlag()},
                {"posthousectl alias list --domain example.org"}},
               List},
              {{"alias delete", {{"ADDRESS"}}, "Delete an alias", {}, {"posthousectl alias delete info@example.org"}},
               Delete},
          }};
}

}  // namespace posthouse::ctl
