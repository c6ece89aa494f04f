// password: what an account logs in with.
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/directory_calls.h"
#include "tools/posthousectl/secret.h"

namespace posthouse::ctl {
namespace {

absl::Status Set(Context& context) {
  directory::v1::SetPasswordRequest request;
  request.set_address(context.Operand());
  PH_ASSIGN_OR_RETURN(const Secret secret, ReadSecret(context.arguments, context.in, context.err));
  if (secret.kind == Secret::Kind::kPassword) request.set_password(secret.text);
  // Empty for --no-password.
  if (secret.kind != Secret::Kind::kPassword) request.set_password_hash(secret.text);
  directory::v1::SetPasswordResponse response;
  PH_RETURN_IF_ERROR(CallAdmin(context, &AdminStub::SetPassword, request, &response));
  context.Report(secret.kind == Secret::Kind::kNone ? "removed the password" : "changed the password");
  ShowGenerated(context, secret);
  return absl::OkStatus();
}

}  // namespace

Noun PasswordCommands() {
  return {"password",
          "what an account logs in with",
          {
              {{"password set",
                {{"ADDRESS"}},
                "Change or remove a password; asks for the new one unless a flag gives it",
                SecretFlags(),
                {"posthousectl password set alice@example.org --generate",
                 "posthousectl password set alice@example.org --password-file secret"}},
               Set},
          }};
}

}  // namespace posthouse::ctl
