// backup: backups of the stores, made by the processes that have them, and restored into an empty data directory.
#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "posthouse/backup/v1/backup.grpc.pb.h"
#include "services/common/backup/repository.h"
#include "services/common/backup/restore.h"
#include "services/common/status/status.h"
#include "services/common/time/proto_time.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

namespace v1 = backup::v1;
using Stub = v1::BackupService::Stub;

constexpr absl::Duration kLook = absl::Milliseconds(200);

template <typename Request, typename Response>
absl::Status Ask(Context& context, const std::string& target,
                 grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
                 Response* response) {
  return context.Call(target, &v1::BackupService::NewStub, method, request, response);
}

// The processes with stores, in the order of their instants (services/common/backup/backups.h has the reason).
absl::StatusOr<std::vector<std::string>> Processes(const Context& context) {
  if (context.targets.one_process) return std::vector<std::string>{context.targets.directory};
  std::vector<std::string> targets = context.targets.queue;
  targets.insert(targets.end(), context.targets.mailbox.begin(), context.targets.mailbox.end());
  if (!context.targets.directory.empty()) targets.push_back(context.targets.directory);
  if (targets.empty()) {
    return absl::InvalidArgumentError("no address of a store: use --server, --queue, --mailbox or --directory");
  }
  return targets;
}

bool Ended(const v1::Job& job) { return job.state() == v1::Job::STATE_DONE || job.state() == v1::Job::STATE_FAILED; }
bool HasInstant(const v1::Job& job) { return job.state() == v1::Job::STATE_COPYING || Ended(job); }

absl::Status Forgotten(const std::string& target) {
  return absl::UnavailableError(absl::StrCat(target, " does not know the job: it has restarted, or another job came"));
}

// Asks until `enough` is true for the job `id` of each store of the process, and prints what changed.
class Follower {
 public:
  explicit Follower(Context& context) : context_(context) {}

  absl::Status Until(const std::string& target, const std::string& id, bool (*enough)(const v1::Job&),
                     std::vector<v1::StoreBackups>* stores) {
    while (true) {
      v1::ListResponse response;
      PH_RETURN_IF_ERROR(Ask(context_, target, &Stub::List, v1::ListRequest(), &response));
      bool all = true, known = false;
      for (const v1::StoreBackups& store : response.stores()) {
        if (store.job().id() != id) continue;
        known = true;
        all = all && enough(store.job());
        Show(store);
      }
      if (!known) return Forgotten(target);
      if (!all) {
        absl::SleepFor(kLook);
        continue;
      }
      for (v1::StoreBackups& store : *response.mutable_stores()) {
        if (stores != nullptr && store.job().id() == id) stores->push_back(std::move(store));
      }
      return absl::OkStatus();
    }
  }

 private:
  // A line for each tenth, to a person only.
  void Show(const v1::StoreBackups& store) {
    const v1::Job& job = store.job();
    if (context_.json || job.state() != v1::Job::STATE_COPYING || job.total_bytes() == 0) return;
    const uint64_t tenth = std::min<uint64_t>(job.done_bytes() * 10 / job.total_bytes(), 10);
    uint64_t& shown = shown_[store.store()];
    if (tenth <= shown) return;
    shown = tenth;
    context_.err << store.store() << ": " << FormatBytes(job.done_bytes()) << " of " << FormatBytes(job.total_bytes())
                 << "\n";
  }

  Context& context_;
  std::map<std::string, uint64_t> shown_;
};

std::vector<std::string> BackupHead() { return {"STORE", "ID", "INSTANT", "SIZE", "COPIED", "TOOK"}; }

std::vector<std::string> BackupRow(const std::string& store, const v1::Backup& backup) {
  return {store,
          backup.id(),
          ShowTime(FromProto(backup.instant())),
          FormatBytes(backup.size_bytes()),
          FormatBytes(backup.copied_bytes()),
          FormatAge(FromProto(backup.finished()) - FromProto(backup.instant()))};
}

// The jobs that failed, as one error.
absl::Status FailuresOf(Context& context, const std::vector<v1::StoreBackups>& stores, absl::string_view what) {
  size_t failed = 0;
  for (const v1::StoreBackups& store : stores) {
    if (store.job().state() != v1::Job::STATE_FAILED) continue;
    ++failed;
    context.err << "posthousectl: " << store.store() << ": " << Printable(store.job().error()) << "\n";
  }
  if (failed == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(what, " of ", failed, " of ", stores.size(), " stores failed"));
}

absl::Status Run(Context& context) {
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> targets, Processes(context));
  Follower follower(context);
  v1::RunRequest request;
  request.set_id(backup::NewId(absl::Now()));
  // Each process fixes its instants before the next one begins; then all copy at once.
  for (const std::string& target : targets) {
    v1::RunResponse response;
    PH_RETURN_IF_ERROR(Ask(context, target, &Stub::Run, request, &response));
    PH_RETURN_IF_ERROR(follower.Until(target, request.id(), HasInstant, nullptr));
  }
  std::vector<v1::StoreBackups> stores;
  for (const std::string& target : targets) {
    PH_RETURN_IF_ERROR(follower.Until(target, request.id(), Ended, &stores));
  }
  Listing listing(context.json, context.out, BackupHead());
  for (const v1::StoreBackups& store : stores) {
    for (const v1::Backup& backup : store.backups()) {
      if (backup.id() == request.id()) listing.Add(backup, BackupRow(store.store(), backup));
    }
  }
  listing.Finish();
  return FailuresOf(context, stores, "the backup");
}

absl::Status Verify(Context& context) {
  PH_ASSIGN_OR_RETURN(const std::vector<std::string> targets, Processes(context));
  Follower follower(context);
  v1::VerifyRequest request;
  if (!context.arguments.operands().empty()) request.set_id(context.Operand());
  std::vector<v1::StoreBackups> stores;
  for (const std::string& target : targets) {
    v1::VerifyResponse response;
    PH_RETURN_IF_ERROR(Ask(context, target, &Stub::Verify, request, &response));
    // Without an id each store verifies its newest backup.
    while (true) {
      v1::ListResponse list;
      PH_RETURN_IF_ERROR(Ask(context, target, &Stub::List, v1::ListRequest(), &list));
      std::vector<v1::StoreBackups> found;
      for (const v1::StoreBackups& store : list.stores()) {
        const bool asked =
            std::find(response.stores().begin(), response.stores().end(), store.store()) != response.stores().end();
        if (asked && store.job().kind() != v1::Job::KIND_VERIFY) return Forgotten(target);
        if (asked && Ended(store.job())) found.push_back(store);
      }
      if (found.size() == static_cast<size_t>(response.stores_size())) {
        stores.insert(stores.end(), found.begin(), found.end());
        break;
      }
      absl::SleepFor(kLook);
    }
  }
  Listing listing(context.json, context.out, {"STORE", "ID", "READ", "STATE"});
  for (const v1::StoreBackups& store : stores) {
    const v1::Job& job = store.job();
    listing.Add(job, {store.store(), job.id(), FormatBytes(job.done_bytes()),
                      job.state() == v1::Job::STATE_DONE ? "ok" : "DAMAGED"});
  }
  listing.Finish();
  return FailuresOf(context, stores, "the verification");
}

// From the processes, or with --from from the directory itself.
absl::Status List(Context& context) {
  Listing listing(context.json, context.out, BackupHead());
  std::vector<std::string> unreadable;
  if (const std::string directory = context.arguments.GetOr("from", ""); !directory.empty()) {
    PH_ASSIGN_OR_RETURN(const std::vector<std::string> stores, backup::Repository::Stores(directory));
    for (const std::string& store : stores) {
      PH_ASSIGN_OR_RETURN(const auto repository, backup::Repository::Open(directory, store));
      PH_ASSIGN_OR_RETURN(const backup::Listing found, repository->List(/*with_files=*/false));
      for (const v1::Backup& backup : found.backups) listing.Add(backup, BackupRow(store, backup));
      unreadable.insert(unreadable.end(), found.unreadable.begin(), found.unreadable.end());
    }
  } else {
    PH_ASSIGN_OR_RETURN(const std::vector<std::string> targets, Processes(context));
    for (const std::string& target : targets) {
      v1::ListResponse response;
      PH_RETURN_IF_ERROR(Ask(context, target, &Stub::List, v1::ListRequest(), &response));
      for (const v1::StoreBackups& store : response.stores()) {
        for (const v1::Backup& backup : store.backups()) listing.Add(backup, BackupRow(store.store(), backup));
      }
    }
  }
  for (const std::string& why : unreadable) context.err << "posthousectl: " << Printable(why) << "\n";
  if (listing.size() == 0) {
    context.Report("there are no backups");
    return absl::OkStatus();
  }
  listing.Finish();
  return absl::OkStatus();
}

absl::Status Restore(Context& context) {
  backup::RestoreOptions options;
  options.directory = context.arguments.operands().at(0);
  options.data_dir = context.arguments.operands().at(1);
  options.hold_queue = !context.arguments.Has("send-queued");
  std::vector<std::string> stores = context.arguments.GetAll("store");
  if (stores.empty()) {
    PH_ASSIGN_OR_RETURN(stores, backup::Repository::Stores(options.directory));
    if (stores.empty()) return absl::NotFoundError(absl::StrCat("there are no backups in ", options.directory));
  }
  options.id = context.arguments.GetOr("backup", "");
  if (options.id.empty()) {
    PH_ASSIGN_OR_RETURN(options.id, backup::NewestCommonId(options.directory, stores));
  }
  // Before anything is restored: two stores of one service have one place.
  std::map<std::string, std::string> places;
  for (const std::string& store : stores) {
    PH_ASSIGN_OR_RETURN(const auto repository, backup::Repository::Open(options.directory, store));
    PH_ASSIGN_OR_RETURN(const v1::Backup backup, repository->Get(options.id));
    const auto [other, fresh] = places.emplace(backup.service(), store);
    if (!fresh) {
      return absl::InvalidArgumentError(absl::StrCat(other->second, " and ", store, " both go to ", options.data_dir,
                                                     "/", backup.service(), ": choose one with --store"));
    }
  }
  Listing listing(context.json, context.out, {"STORE", "ID", "INSTANT", "SIZE", "RESTORED TO", "TOOK"});
  bool held = false;
  for (const std::string& store : stores) {
    options.store = store;
    const absl::Time start = absl::Now();
    backup::Transfer transfer{backup::TransferOptions()};
    PH_ASSIGN_OR_RETURN(backup::Restored restored, backup::Restore(options, transfer));
    held = held || (restored.backup.service() == "queue" && options.hold_queue);
    restored.backup.clear_files();
    listing.Add(restored.backup,
                {store, restored.backup.id(), ShowTime(FromProto(restored.backup.instant())),
                 FormatBytes(restored.backup.size_bytes()), restored.path, FormatAge(absl::Now() - start)});
  }
  listing.Finish();
  if (held) {
    context.Report(
        "The messages of the queue are held, as they may have been delivered after the backup. "
        "'posthousectl queue retry --held' sends them.");
  }
  return absl::OkStatus();
}

}  // namespace

Noun BackupCommands() {
  return {"backup",
          "backups of the stores",
          {
              {{"backup run",
                {},
                "Back up all stores and wait for the end",
                {},
                {"posthousectl backup run",
                 "posthousectl backup run --queue 10.0.0.6:7402 --mailbox 10.0.0.7:7403 "
                 "--directory 10.0.0.5:7405"}},
               Run},
              {{"backup list",
                {},
                "List the backups, newest first",
                {cli::Text("from", "DIRECTORY", "read this backup directory, and ask no service")},
                {"posthousectl backup list", "posthousectl backup list --from /backups"}},
               List},
              {{"backup verify",
                {{"BACKUP-ID", cli::Operand::Times::kOptional}},
                "Read a backup back and compare each file with its checksum (default: the newest)",
                {},
                {"posthousectl backup verify 20261129T083428123Z-1a2b3c4d"}},
               Verify},
              {{"backup restore",
                {{"DIRECTORY"}, {"DATA-DIR"}},
                "Restore stores from a backup directory into an empty data directory; no service may run there",
                {cli::Text("backup", "BACKUP-ID", "the backup (default: the newest that all stores have)"),
                 [] {
                   cli::Flag store = cli::Text("store", "STORE", "restore only this store, as 'backup list' names it");
                   store.repeated = true;
                   return store;
                 }(),
                 cli::Switch("send-queued",
                             "send queued messages at once; those that were delivered after the backup "
                             "are delivered again")},
                {"posthousectl backup restore /backups /var/lib/posthouse",
                 "posthousectl backup restore /backups /var/lib/posthouse --store mailbox-a"}},
               Restore},
          }};
}

}  // namespace posthouse::ctl
