#include "services/common/rpc/callers.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace posthouse::rpc {
namespace {

constexpr std::array<std::pair<Caller, absl::string_view>, 9> kNames = {{{Caller::kNobody, "nobody"},
                                                                         {Caller::kAdmin, "admin"},
                                                                         {Caller::kIngress, "ingress"},
                                                                         {Caller::kRouting, "routing"},
                                                                         {Caller::kDirectory, "directory"},
                                                                         {Caller::kQueue, "queue"},
                                                                         {Caller::kMailbox, "mailbox"},
                                                                         {Caller::kGateway, "gateway"},
                                                                         {Caller::kProcess, "process"}}};

constexpr absl::string_view kBackupService = "posthouse.backup.v1.BackupService";
constexpr absl::string_view kDirectoryService = "posthouse.directory.v1.DirectoryService";
constexpr absl::string_view kDirectoryAdminService = "posthouse.directory.v1.DirectoryAdminService";
constexpr absl::string_view kRoutingService = "posthouse.routing.v1.RoutingService";
constexpr absl::string_view kIngressAdminService = "posthouse.ingress.v1.IngressAdminService";
constexpr absl::string_view kSessionsService = "posthouse.sessions.v1.SessionsService";
constexpr absl::string_view kQueueService = "posthouse.queue.v1.QueueService";
constexpr absl::string_view kQueueAdminService = "posthouse.queue.v1.QueueAdminService";
constexpr absl::string_view kMailboxService = "posthouse.mailbox.v1.MailboxService";

std::vector<MethodCallers> MakeTable() {
  using enum Caller;
  std::vector<MethodCallers> table = {
      // The services that follow the directory's changes: they keep a cache or sessions of its answers.
      {kDirectoryService, "Watch", {kIngress, kRouting, kQueue, kMailbox, kGateway}},
      {kDirectoryService, "LookupAddress", {kRouting, kAdmin}},
      {kDirectoryService, "Authenticate", {kIngress, kGateway}},
      {kDirectoryService, "GetAccount", {kIngress, kQueue, kMailbox, kGateway, kAdmin}},
      {kDirectoryService, "ListDeletedAccounts", {kMailbox, kAdmin}},
      {kDirectoryService, "ReportErasure", {kMailbox}},

      {kRoutingService, "ResolveRecipient", {kIngress, kQueue, kAdmin}},
      {kRoutingService, "ResolveDestination", {kQueue, kAdmin}},

      {kIngressAdminService, "FindRefusals", {kAdmin}},
      {kSessionsService, "ListSessions", {kAdmin}},
      {kSessionsService, "KickSessions", {kAdmin}},

      {kQueueService, "Enqueue", {kIngress}},

      // Mail goes in through the queue and is read by the gateway. Ingress, which reads what the Internet sends, sees
      // how full a mailbox is, and nothing of its mail.
      {kMailboxService, "Deliver", {kQueue}},
      {kMailboxService, "GetUsage", {kIngress, kQueue, kGateway, kAdmin}},
  };
  for (const absl::string_view method :
       {"Append", "ListFolders", "CreateFolder", "DeleteFolder", "RenameFolder", "Subscribe", "GetFolder", "ListUids",
        "Fetch", "Search", "StoreFlags", "Expunge", "Copy", "GetChanges", "Watch"}) {
    table.push_back({kMailboxService, method, {kGateway}});
  }
  // Every process with a store serves it.
  for (const absl::string_view method : {"Run", "List", "Verify"}) {
    table.push_back({kBackupService, method, {kAdmin}});
  }
  for (const absl::string_view method :
       {"GetItem", "ListItems", "FindItems", "RetryItems", "DeleteItem", "GetStats", "ListDestinations"}) {
    table.push_back({kQueueAdminService, method, {kAdmin}});
  }
  for (const absl::string_view method :
       {"CreateTenant", "UpdateTenant", "ListTenants", "CreateDomain", "UpdateDomain", "GetDomain", "ListDomains",
        "DeleteDomain", "CreateAccount", "UpdateAccount", "ListAccounts", "DeleteAccount", "UndeleteAccount",
        "SetPassword", "CreateAlias", "UpdateAlias", "ListAliases", "DeleteAlias"}) {
    table.push_back({kDirectoryAdminService, method, {kAdmin}});
  }
  return table;
}

const std::vector<MethodCallers>& Table() {
  static const auto& table = *new std::vector<MethodCallers>(MakeTable());
  return table;
}

}  // namespace

absl::string_view CallerName(Caller caller) { return kNames[static_cast<size_t>(caller)].second; }

Caller CallerNamed(absl::string_view name) {
  for (const auto& [caller, known] : kNames) {
    if (name == known && caller != Caller::kProcess) return caller;
  }
  return Caller::kNobody;
}

Caller CallerOfCertificate(absl::string_view name) {
  std::string label = absl::AsciiStrToLower(name.substr(0, name.find('.')));
  if (label == "posthousectl") return Caller::kAdmin;
  absl::string_view rest = label;
  absl::ConsumePrefix(&rest, "posthouse-");
  const size_t dash = rest.rfind('-');
  if (dash != absl::string_view::npos && dash + 1 < rest.size() &&
      std::all_of(rest.begin() + static_cast<std::ptrdiff_t>(dash) + 1, rest.end(), absl::ascii_isdigit)) {
    rest = rest.substr(0, dash);
  }
  return CallerNamed(rest);
}

absl::Span<const MethodCallers> AllMethodCallers() { return Table(); }

bool MayCall(Caller caller, absl::string_view method) {
  static const auto& masks = *[] {
    auto* masks = new absl::flat_hash_map<std::string, uint32_t>;
    for (const MethodCallers& row : Table()) {
      uint32_t& mask = (*masks)[absl::StrCat(row.service, "/", row.method)];
      for (const Caller c : row.callers) mask |= 1u << static_cast<unsigned>(c);
    }
    return masks;
  }();
  if (caller == Caller::kProcess) return true;
  const auto it = masks.find(method);
  return it != masks.end() && (it->second >> static_cast<unsigned>(caller) & 1) != 0;
}

std::vector<std::string> ServicesOf(absl::string_view process) {
  const std::string package = absl::StrCat("posthouse.", process, ".v1.");
  std::vector<std::string> services;
  const bool has_sessions = process == "gateway" || process == "ingress";
  for (const MethodCallers& row : Table()) {
    const bool own = row.service.substr(0, package.size()) == package;
    if (process != "standalone" && !own && !(has_sessions && row.service == kSessionsService)) continue;
    if (std::find(services.begin(), services.end(), row.service) == services.end()) services.emplace_back(row.service);
  }
  return services;
}

}  // namespace posthouse::rpc
