// What the commands on tenants, domains, accounts and aliases share: calls of the directory, and the flags and words
// for limits and states.
// Threads: the main thread.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "posthouse/directory/v1/directory.grpc.pb.h"
#include "services/common/cli/cli.h"
#include "services/common/status/status.h"
#include "tools/posthousectl/context.h"

namespace posthouse::ctl {

using AdminStub = directory::v1::DirectoryAdminService::Stub;

template <typename Request, typename Response>
absl::Status CallAdmin(Context& context,
                       grpc::Status (AdminStub::*method)(grpc::ClientContext*, const Request&, Response*),
                       const Request& request, Response* response) {
  PH_RETURN_IF_ERROR(context.NeedDirectory());
  return context.Call(context.targets.directory, &directory::v1::DirectoryAdminService::NewStub, method, request,
                      response);
}

// Calls `take` with every page of a list.
template <typename Request, typename Response, typename Take>
absl::Status ListAll(Context& context,
                     grpc::Status (AdminStub::*method)(grpc::ClientContext*, const Request&, Response*),
                     Request request, Take take) {
  request.mutable_page()->set_page_size(1000);
  while (true) {
    Response response;
    PH_RETURN_IF_ERROR(CallAdmin(context, method, request, &response));
    take(response);
    if (response.page().next_page_token().empty()) return absl::OkStatus();
    request.mutable_page()->set_page_token(response.page().next_page_token());
  }
}

// Adds the domain; `*response` has it as the directory keeps it. kAlreadyExists when it is known.
absl::Status CreateDomain(Context& context, const directory::v1::Domain& domain,
                          directory::v1::CreateDomainResponse* response);

// --quota SIZE and --quota-messages N.
std::vector<cli::Flag> LimitFlags();
// Sets the limits that the flags name. kInvalidArgument: a value is no size.
absl::Status SetLimits(const cli::Arguments& arguments, directory::v1::Limits* limits);
// "2.0 GiB"; "-" without a limit.
std::string ShowLimit(uint64_t bytes);

// --status STATUS.
cli::Flag StatusFlag();
// The state that --status names; requires that it was given.
directory::v1::Status StatusOf(const cli::Arguments& arguments);
std::string StatusName(directory::v1::Status status);

// Flags that several nouns have.
cli::Flag DisplayNameFlag();
cli::Flag OnlyTenantFlag();
cli::Flag OnlyDomainFlag();
// --if-absent: what exists already is a success, and stays as it is, so that a command can be repeated.
inline constexpr char kIfAbsent[] = "if-absent";
cli::Flag IfAbsentFlag();

// Both lists, in order.
std::vector<cli::Flag> Join(std::vector<cli::Flag> a, const std::vector<cli::Flag>& b);

}  // namespace posthouse::ctl
