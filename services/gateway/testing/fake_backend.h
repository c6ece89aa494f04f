// FakeBackend: directory and mailbox in memory, for tests of the sessions.
//
// Behaves as the protos say, for one account (joe@a.example, "secret"), with simple
// MIME: HEADER, TEXT and part 1 only. Failures are data: set `fail` to what the next
// calls shall return. Threads: any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "services/gateway/backend.h"

namespace posthouse::mailbox::v1 {
class Folder;
class FolderState;
class MessageRows;
class SearchKey;
}  // namespace posthouse::mailbox::v1

namespace posthouse::gateway {

class FakeBackend final : public Backend {
 public:
  FakeBackend();
  ~FakeBackend() override;

  // What other sessions or deliveries do.
  uint32_t Deliver(const std::string& folder, const std::string& message, uint32_t flags = 0);
  void SetFlags(const std::string& folder, uint32_t uid, uint32_t flags);
  void Remove(const std::string& folder, uint32_t uid);
  void RemoveFolder(const std::string& folder);
  // Everything so far is older than the change log: the next GetChanges is full.
  void ForgetChanges(const std::string& folder);

  // The next `count` calls of `method` ("Append", "GetChanges", ...; "*" any) fail.
  void Fail(const std::string& method, absl::Status status, int count = 1);
  int calls(const std::string& method) const;
  // Hints are delivered only when on (default).
  void set_hints(bool on);
  void BreakWatch();                                                   // ends the streams that are open
  std::string message(const std::string& folder, uint32_t uid) const;  // "" not there
  uint64_t modseq(const std::string& folder) const;

  Task<absl::StatusOr<directory::v1::AuthenticateResponse>> Authenticate(
      rpc::TraceContext trace, directory::v1::AuthenticateRequest request) override;
  Answer<mail::ListFoldersResponse> ListFolders(Trace trace, mail::ListFoldersRequest request) override;
  Answer<mail::CreateFolderResponse> CreateFolder(Trace trace, mail::CreateFolderRequest request) override;
  Answer<mail::DeleteFolderResponse> DeleteFolder(Trace trace, mail::DeleteFolderRequest request) override;
  Answer<mail::RenameFolderResponse> RenameFolder(Trace trace, mail::RenameFolderRequest request) override;
  Answer<mail::SubscribeResponse> Subscribe(Trace trace, mail::SubscribeRequest request) override;
  Answer<mail::GetFolderResponse> GetFolder(Trace trace, mail::GetFolderRequest request) override;
  Answer<mail::ListUidsResponse> ListUids(Trace trace, mail::ListUidsRequest request) override;
  Answer<mail::SearchResponse> Search(Trace trace, mail::SearchRequest request) override;
  Answer<mail::StoreFlagsResponse> StoreFlags(Trace trace, mail::StoreFlagsRequest request) override;
  Answer<mail::ExpungeResponse> Expunge(Trace trace, mail::ExpungeRequest request) override;
  Answer<mail::CopyResponse> Copy(Trace trace, mail::CopyRequest request) override;
  Answer<mail::GetChangesResponse> GetChanges(Trace trace, mail::GetChangesRequest request) override;
  Answer<mail::GetUsageResponse> GetUsage(Trace trace, mail::GetUsageRequest request) override;
  std::unique_ptr<FetchStream> Fetch(Trace trace, mail::FetchRequest request) override;
  std::unique_ptr<AppendStream> Append(Trace trace, const AccountRef& account) override;
  std::unique_ptr<WatchStream> Watch(const std::string& home) override;
  std::string ShardOf(const std::string& home) const override { return ""; }

 private:
  struct Message {
    std::string bytes;
    uint32_t flags = 0;
    std::set<std::string> keywords;
    uint64_t modseq = 0;
    int64_t date = 0;
    int zone = 0;
  };
  struct Box {
    std::string id;
    std::string name;
    std::string special_use;
    bool subscribed = false;
    bool no_select = false;
    uint32_t uid_next = 1;
    uint64_t modseq = 1;
    uint64_t log_floor = 0;
    std::map<uint32_t, Message> messages;
    std::map<uint64_t, std::vector<uint32_t>> vanished;
    std::vector<std::string> keywords;
  };
  class Fetching;
  class Appending;
  class Watching;
  struct WatchState;
  // Hints of the folders that are newer than the client knows.
  void Answer(WatchState& state, const mail::WatchRequest& request);

  absl::Status Enter(const std::string& method) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Box* ByName(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Box* ById(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Box& AddBox(const std::string& name, const std::string& special_use) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FillState(const Box& box, mail::FolderState* state) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FillFolder(const Box& box, bool with_state, mail::Folder* folder) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddRow(Box& box, uint32_t uid, const Message& message, mail::MessageRows* rows)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t AddMessage(Box& box, Message message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Vanish(Box& box, uint32_t uid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Hint(const Box& box) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddKeyword(Box& box, const std::string& keyword) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Matches(Box& box, uint32_t uid, const Message& message, const mail::SearchKey& key)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  int next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  bool hints_ ABSL_GUARDED_BY(mutex_) = true;
  std::map<std::string, Box> boxes_ ABSL_GUARDED_BY(mutex_);  // by id
  std::set<std::string> subscribed_only_ ABSL_GUARDED_BY(mutex_);
  struct Failure {
    std::string method;
    absl::Status status;
    int left;
  };
  std::vector<Failure> failures_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<WatchState>> watchers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace posthouse::gateway
