// Backend: what the sessions of IMAP and POP3 ask of directory and mailbox.
//
// A thin layer over the stubs: it picks the account's mailbox shard, sets
// deadlines and keeps gRPC out of the sessions. Nothing is retried here: a failure
// that may pass (kUnavailable, kDeadlineExceeded) is told to the client.
// Threads: any; a call resumes on its caller's executor. Outlives its streams.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/common/async/task.h"
#include "services/common/rpc/channels.h"
#include "services/common/rpc/trace.h"

namespace posthouse::common::v1 {
class AccountRef;
}
namespace posthouse::directory::v1 {
class AuthenticateRequest;
class AuthenticateResponse;
}  // namespace posthouse::directory::v1
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
class GetUsageRequest;
class GetUsageResponse;
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

// A message being fetched in pieces. Destroying it cancels what still runs.
class FetchStream {
 public:
  virtual ~FetchStream() = default;
  // nullopt: the end.
  virtual Task<absl::StatusOr<std::optional<mail::FetchResponse>>> Read() = 0;
};

// A message being appended. Destroying it before Finish() stores nothing.
class AppendStream {
 public:
  virtual ~AppendStream() = default;
  // An error: the call has ended; Finish() tells why.
  virtual Task<absl::Status> Write(mail::AppendRequest request) = 0;
  virtual Task<absl::StatusOr<mail::AppendResponse>> Finish() = 0;
};

// Hints of one mailbox shard. One coroutine reads while another one writes.
class WatchStream {
 public:
  virtual ~WatchStream() = default;
  // An error: the stream has ended; Read() tells why.
  virtual Task<absl::Status> Write(mail::WatchRequest request) = 0;
  virtual Task<absl::StatusOr<std::optional<mail::WatchResponse>>> Read() = 0;
  virtual void Cancel() = 0;  // any thread
};

class Backend {
 public:
  static std::unique_ptr<Backend> Create(const rpc::Channels& channels);
  virtual ~Backend() = default;

  virtual Task<absl::StatusOr<directory::v1::AuthenticateResponse>> Authenticate(
      rpc::TraceContext trace, directory::v1::AuthenticateRequest request) = 0;

  // Each request names its account, and so the shard. kUnavailable: no such shard.
  template <typename T>
  using Answer = Task<absl::StatusOr<T>>;
  using Trace = rpc::TraceContext;
  virtual Answer<mail::ListFoldersResponse> ListFolders(Trace trace, mail::ListFoldersRequest request) = 0;
  virtual Answer<mail::CreateFolderResponse> CreateFolder(Trace trace, mail::CreateFolderRequest request) = 0;
  virtual Answer<mail::DeleteFolderResponse> DeleteFolder(Trace trace, mail::DeleteFolderRequest request) = 0;
  virtual Answer<mail::RenameFolderResponse> RenameFolder(Trace trace, mail::RenameFolderRequest request) = 0;
  virtual Answer<mail::SubscribeResponse> Subscribe(Trace trace, mail::SubscribeRequest request) = 0;
  virtual Answer<mail::GetFolderResponse> GetFolder(Trace trace, mail::GetFolderRequest request) = 0;
  virtual Answer<mail::ListUidsResponse> ListUids(Trace trace, mail::ListUidsRequest request) = 0;
  virtual Answer<mail::SearchResponse> Search(Trace trace, mail::SearchRequest request) = 0;
  virtual Answer<mail::StoreFlagsResponse> StoreFlags(Trace trace, mail::StoreFlagsRequest request) = 0;
  virtual Answer<mail::ExpungeResponse> Expunge(Trace trace, mail::ExpungeRequest request) = 0;
  virtual Answer<mail::CopyResponse> Copy(Trace trace, mail::CopyRequest request) = 0;
  virtual Answer<mail::GetChangesResponse> GetChanges(Trace trace, mail::GetChangesRequest request) = 0;
  virtual Answer<mail::GetUsageResponse> GetUsage(Trace trace, mail::GetUsageRequest request) = 0;

  // Null when the shard is not known.
  virtual std::unique_ptr<FetchStream> Fetch(Trace trace, mail::FetchRequest request) = 0;
  virtual std::unique_ptr<AppendStream> Append(Trace trace, const AccountRef& account) = 0;
  virtual std::unique_ptr<WatchStream> Watch(const std::string& home) = 0;
  // "" when there is one shard for all, as accounts then may name any home.
  virtual std::string ShardOf(const std::string& home) const = 0;
};

}  // namespace posthouse::gateway
