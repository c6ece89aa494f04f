#include "tools/posthousectl/directory_calls.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "services/common/config/config.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

namespace v1 = directory::v1;

// "500MiB", "2GiB", "1000000"; "none" and 0 remove the limit.
absl::StatusOr<uint64_t> ParseLimit(absl::string_view flag, const std::string& text) {
  if (text == "none") return uint64_t{0};
  absl::StatusOr<uint64_t> size = config::ParseSize(text);
  if (!size.ok()) return Annotate(size.status(), absl::StrCat("--", flag));
  return size;
}

}  // namespace

absl::Status CreateDomain(Context& context, const v1::Domain& domain, v1::CreateDomainResponse* response) {
  v1::CreateDomainRequest request;
  *request.mutable_domain() = domain;
  return CallAdmin(context, &AdminStub::CreateDomain, request, response);
}

std::vector<cli::Flag> LimitFlags() {
  return {cli::Text("quota", "SIZE", "limit of stored bytes, for example 500MiB or 2GiB; none removes it"),
          cli::Text("quota-messages", "N", "limit of stored messages; none removes it")};
}

absl::Status SetLimits(const cli::Arguments& arguments, v1::Limits* limits) {
  if (const auto quota = arguments.Get("quota")) {
    PH_ASSIGN_OR_RETURN(const uint64_t bytes, ParseLimit("quota", *quota));
    limits->set_storage_bytes(bytes);
  }
  if (const auto messages = arguments.Get("quota-messages")) {
    PH_ASSIGN_OR_RETURN(const uint64_t count, ParseLimit("quota-messages", *messages));
    limits->set_messages(count);
  }
  return absl::OkStatus();
}

std::string ShowLimit(uint64_t bytes) { return bytes == 0 ? "-" : FormatBytes(bytes); }

cli::Flag StatusFlag() {
  return cli::Choice("status", "STATUS", "state", {"active", "suspended", "frozen", "deleted"});
}

v1::Status StatusOf(const cli::Arguments& arguments) {
  v1::Status status = v1::STATUS_UNSPECIFIED;
  v1::Status_Parse(absl::StrCat("STATUS_", absl::AsciiStrToUpper(arguments.GetOr("status", ""))), &status);
  return status;
}

std::string StatusName(v1::Status status) {
  if (status == v1::STATUS_UNSPECIFIED) return "active";
  return absl::AsciiStrToLower(absl::StripPrefix(v1::Status_Name(status), "STATUS_"));
}

cli::Flag DisplayNameFlag() { return cli::Text("display-name", "TEXT", "human-readable name"); }
cli::Flag OnlyTenantFlag() { return cli::Text("tenant", "NAME", "list only what this tenant owns"); }
cli::Flag OnlyDomainFlag() { return cli::Text("domain", "DOMAIN", "list only addresses in this domain"); }

cli::Flag IfAbsentFlag() { return cli::Switch(kIfAbsent, "succeed without a change when it exists"); }

std::vector<cli::Flag> Join(std::vector<cli::Flag> a, const std::vector<cli::Flag>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace posthouse::ctl
