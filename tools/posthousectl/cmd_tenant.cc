// tenant: organisations that own domains.
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/directory_calls.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

namespace v1 = directory::v1;

absl::Status Add(Context& context) {
  v1::CreateTenantRequest request;
  request.mutable_tenant()->set_tenant(context.Operand());
  request.mutable_tenant()->set_display_name(context.arguments.GetOr("display-name", ""));
  PH_RETURN_IF_ERROR(SetLimits(context.arguments, request.mutable_tenant()->mutable_limits()));
  v1::CreateTenantResponse response;
  const absl::Status status = CallAdmin(context, &AdminStub::CreateTenant, request, &response);
  if (absl::IsAlreadyExists(status) && context.arguments.Has(kIfAbsent)) {
    context.Report("tenant " + request.tenant().tenant() + " exists and stays as it is");
    return absl::OkStatus();
  }
  if (!status.ok()) return status;
  context.Report(response.tenant(), "added tenant " + response.tenant().tenant());
  return absl::OkStatus();
}

absl::Status List(Context& context) {
  Listing listing(context.json, context.out, {"TENANT", "STATUS", "QUOTA", "NAME"});
  const auto add = [&](const v1::ListTenantsResponse& page) {
    for (const v1::Tenant& t : page.tenants()) {
      listing.Add(
          t, {t.tenant(), StatusName(t.status()), ShowLimit(t.limits().storage_bytes()), Printable(t.display_name())});
    }
  };
  PH_RETURN_IF_ERROR(ListAll(context, &AdminStub::ListTenants, v1::ListTenantsRequest(), add));
  listing.Finish();
  return absl::OkStatus();
}

}  // namespace

Noun TenantCommands() {
  return {"tenant",
          "an organisation that owns domains",
          {
              {{"tenant add",
                {{"NAME"}},
                "Add a tenant",
                Join({DisplayNameFlag(), IfAbsentFlag()}, LimitFlags()),
                {"posthousectl tenant add acme --display-name \"Acme Inc.\""}},
               Add},
              {{"tenant list", {}, "List the tenants", {}, {"posthousectl tenant list"}}, List},
          }};
}

}  // namespace posthouse::ctl
