// MailboxClient: the mailbox service as the sessions call it.
//
// Each request names its account, and the account its shard. Answers that the service gives in
// parts (mailbox.proto, "long answers") come back whole. Errors are those of the service;
// kUnavailable also when the shard is not known. No gRPC in this header. Threads: any.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/async/task.h"
#include "services/common/ids/ids.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/live_peers.h"
#include "services/common/rpc/trace.h"

namespace posthouse::common::v1 {
class AccountRef;
}
namespace posthouse::mailbox::v1 {
class AppendRequest;
class AppendResponse;
class CopyRequest;
class CopyResponse;
class CreateFolderRequest;
class CreateFolderResponse;
class DeleteFolderRequest;
class DeleteFolderResponse;
class ExpungeRequest;
class ExpungeResponse;
class FetchRequest;
class FetchResponse;
class GetChangesRequest;
class GetChangesResponse;
class GetFolderRequest;
class GetFolderResponse;
class ListFoldersRequest;
class ListFoldersResponse;
class ListUidsRequest;
class ListUidsResponse;
class RenameFolderRequest;
class RenameFolderResponse;
class SearchRequest;
class SearchResponse;
class StoreFlagsRequest;
class StoreFlagsResponse;
class SubscribeRequest;
class SubscribeResponse;
class WatchRequest;
class WatchResponse;
}  // namespace posthouse::mailbox::v1

namespace posthouse::gateway {

namespace mail = ::posthouse::mailbox::v1;
using AccountRef = ::posthouse::common::v1::AccountRef;

// Messages being fetched in pieces. Destroying it cancels what still runs.
class FetchStream {
 public:
  FetchStream(FetchStream&&) noexcept;
  ~FetchStream();
  // nullopt: the end.
  Task<absl::StatusOr<std::optional<mail::FetchResponse>>> Read();

 private:
  friend class MailboxClient;
  struct Call;
  explicit FetchStream(std::unique_ptr<Call> call);
  std::unique_ptr<Call> call_;  // null: the shard is not known
};

// A message being appended. Destroying it before Finish() stores nothing.
class AppendStream {
 public:
  AppendStream(AppendStream&&) noexcept;
  ~AppendStream();
  // An error: the call has ended; Finish() tells why.
  Task<absl::Status> Write(mail::AppendRequest request);
  Task<absl::StatusOr<mail::AppendResponse>> Finish();

 private:
  friend class MailboxClient;
  struct Call;
  explicit AppendStream(std::unique_ptr<Call> call);
  std::unique_ptr<Call> call_;
};

// Hints of one mailbox shard. One coroutine reads while another one writes.
class WatchStream {
 public:
  ~WatchStream();
  // An error: the stream has ended; Read() tells why.
  Task<absl::Status> Write(mail::WatchRequest request);
  Task<absl::StatusOr<std::optional<mail::WatchResponse>>> Read();
  void Cancel();  // any thread

 private:
  friend class MailboxClient;
  struct Call;
  explicit WatchStream(std::unique_ptr<Call> call);
  const std::unique_ptr<Call> call_;
};

class MailboxClient {
 public:
  template <typename T>
  using Answer = Task<absl::StatusOr<T>>;
  using Trace = rpc::TraceContext;

  explicit MailboxClient(std::shared_ptr<const rpc::LivePeers> peers);
  explicit MailboxClient(const rpc::Channels& channels);  // they never change
  ~MailboxClient();

  Answer<mail::ListFoldersResponse> ListFolders(Trace trace, mail::ListFoldersRequest request);
  Answer<mail::CreateFolderResponse> CreateFolder(Trace trace, mail::CreateFolderRequest request);
  Answer<mail::DeleteFolderResponse> DeleteFolder(Trace trace, mail::DeleteFolderRequest request);
  Answer<mail::RenameFolderResponse> RenameFolder(Trace trace, mail::RenameFolderRequest request);
  Answer<mail::SubscribeResponse> Subscribe(Trace trace, mail::SubscribeRequest request);
  Answer<mail::GetFolderResponse> GetFolder(Trace trace, mail::GetFolderRequest request);
  // The state and the UIDs of the first part; messages that came later are left out.
  Answer<mail::ListUidsResponse> ListUids(Trace trace, mail::ListUidsRequest request);
  Answer<mail::SearchResponse> Search(Trace trace, mail::SearchRequest request);
  Answer<mail::StoreFlagsResponse> StoreFlags(Trace trace, mail::StoreFlagsRequest request);
  Answer<mail::ExpungeResponse> Expunge(Trace trace, mail::ExpungeRequest request);
  Answer<mail::CopyResponse> Copy(Trace trace, mail::CopyRequest request);
  // The state of the first part; later parts may hold newer changes.
  Answer<mail::GetChangesResponse> GetChanges(Trace trace, mail::GetChangesRequest request);

  FetchStream Fetch(Trace trace, mail::FetchRequest request);
  AppendStream Append(Trace trace, const AccountRef& account);
  // `shard`: of ShardOf().
  std::shared_ptr<WatchStream> Watch(const Home& shard);
  // The only shard, when there is one: accounts then may name any home, or none.
  Home ShardOf(const AccountRef& account) const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// An id for APPEND, COPY and MOVE by which the mailbox knows a repeated request: 16 random bytes.
std::string NewOperationId();

}  // namespace posthouse::gateway
