// APPEND: passes the message from the socket to the mailbox service in pieces.
//
// The mailbox is looked up first, so that a client with a synchronising literal learns of
// TRYCREATE or TOOBIG before it sends the message. The commit follows when the command has ended
// with CRLF right after the message.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"
#include "services/mail_formats/imap/mailbox_name.h"

namespace posthouse::gateway {
namespace {

constexpr size_t kPieceBytes = 128 * 1024;
// A message of at most this many bytes is kept until the mailbox has answered.
constexpr uint64_t kKeepBytes = 1024 * 1024;
// Before each further try when the answer was lost: a mailbox that restarts is back within seconds.
constexpr absl::Duration kPauses[] = {absl::Milliseconds(200), absl::Seconds(1), absl::Seconds(2)};

// True when the message may have been stored nevertheless.
bool IsInDoubt(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
      return true;
    default:
      return false;
  }
}

// One message on its way. It is read to its end even when the stream fails, since the client sends
// all of it.
//
// When the mailbox may have stored the message and its answer was lost, a small message is sent
// again under the same operation id, and a large one is asked for by that id. So the client does
// not append twice what was stored.
class Message {
 public:
  Message(ImapSession& session, mail::AppendRequest::Header header) : session_(session), header_(std::move(header)) {}

  // Reads the message and the end of the command. An error: the connection is lost.
  Task<absl::Status> Receive() {
    session_.reader().AcceptMessage();
    keep_ = session_.reader().message_bytes() <= kKeepBytes;
    while (session_.reader().message_bytes() > 0) {
      std::string piece = session_.reader().TakeMessage(kPieceBytes);
      if (piece.empty()) {
        PH_CO_RETURN_IF_ERROR(co_await session_.ReadInput());
        continue;
      }
      size_ += piece.size();
      // RFC 9051 §4.3: NUL is in no literal.
      if (std::memchr(piece.data(), 0, piece.size()) != nullptr) has_nul_ = true;
      buffer_ += piece;
      if (!keep_ && buffer_.size() >= kPieceBytes && session_.reader().message_bytes() > 0) co_await SendPiece();
    }
    co_return co_await ReadEnd();
  }

  bool well_formed() const { return well_formed_; }
  bool has_nul() const { return has_nul_; }

  Task<absl::StatusOr<mail::AppendResponse>> Commit() {
    absl::StatusOr<mail::AppendResponse> response = keep_ ? co_await SendKept() : co_await SendRest();
    for (const absl::Duration pause : kPauses) {
      // Without the commit nothing is stored.
      if (response.ok() || !commit_sent_ || !IsInDoubt(response.status())) break;
      session_.shared().metrics.append_repeats.Add();
      LOG_EVENT(kInfo, "append_repeated").Err(response.status()).Trace(session_.trace().trace_id);
      co_await Sleep(pause);
      if (keep_) {
        response = co_await SendKept();
        continue;
      }
      absl::StatusOr<mail::AppendResponse> stored = co_await Ask();
      // UID 0: not stored, or not yet.
      if (stored.ok() && stored->uid() != 0) response = *std::move(stored);
    }
    co_return response;
  }

 private:
  void Open() {
    stream_.emplace(session_.shared().mailbox.Append(session_.trace(), session_.account()));
    failed_ = false;
  }

  // After a failure nothing more is sent; Finish() has the reason.
  Task<void> Send(mail::AppendRequest request) {
    if (failed_) co_return;
    failed_ = !(co_await stream_->Write(std::move(request))).ok();
  }

  Task<void> SendHeader() {
    Open();
    mail::AppendRequest first;
    *first.mutable_header() = header_;
    co_await Send(std::move(first));
  }

  Task<void> SendData(std::string bytes) {
    mail::AppendRequest data;
    data.set_data(std::move(bytes));
    co_await Send(std::move(data));
  }

  Task<void> SendPiece() {
    if (!stream_.has_value()) co_await SendHeader();
    co_await SendData(std::exchange(buffer_, std::string()));
  }

  Task<void> SendCommit() {
    commit_sent_ = !failed_;
    mail::AppendRequest commit;
    commit.mutable_commit()->set_size_bytes(size_);
    co_await Send(std::move(commit));
  }

  // The whole message, which stays in the buffer.
  Task<absl::StatusOr<mail::AppendResponse>> SendKept() {
    if (buffer_.size() <= kPieceBytes) {  // one write holds all of it
      Open();
      commit_sent_ = true;
      mail::AppendRequest all;
      *all.mutable_header() = header_;
      all.mutable_header()->set_data(buffer_);
      all.mutable_header()->set_commit(true);
      co_await Send(std::move(all));
    } else {
      co_await SendHeader();
      for (size_t at = 0; at < buffer_.size(); at += kPieceBytes) co_await SendData(buffer_.substr(at, kPieceBytes));
      co_await SendCommit();
    }
    co_return co_await stream_->Finish();
  }

  Task<absl::StatusOr<mail::AppendResponse>> SendRest() {
    if (!buffer_.empty()) co_await SendPiece();
    co_await SendCommit();
    co_return co_await stream_->Finish();
  }

  Task<absl::StatusOr<mail::AppendResponse>> Ask() {
    Open();
    mail::AppendRequest ask;
    *ask.mutable_header() = header_;
    ask.mutable_header()->set_ask(true);
    co_await Send(std::move(ask));
    co_return co_await stream_->Finish();
  }

  // The command ends after the message; MULTIAPPEND is not offered.
  Task<absl::Status> ReadEnd() {
    while (true) {
      switch (session_.reader().Next()) {
        case imap::CommandReader::Event::kNeedInput:
          // Clients write the literal and then the end of the line.
          session_.connection().AcknowledgeNow();
          PH_CO_RETURN_IF_ERROR(co_await session_.ReadInput());
          break;
        case imap::CommandReader::Event::kCommand:
          // Blanks are forgiven, as behind the arguments of other commands.
          well_formed_ = session_.reader().text().find_first_not_of(' ') == std::string::npos;
          co_return absl::OkStatus();
        default:
          co_return absl::OkStatus();
      }
    }
  }

  ImapSession& session_;
  const mail::AppendRequest::Header header_;
  std::optional<AppendStream> stream_;
  std::string buffer_;  // of a kept message all of it
  uint64_t size_ = 0;
  bool keep_ = false;
  bool failed_ = false;
  bool commit_sent_ = false;
  bool has_nul_ = false;
  bool well_formed_ = false;
};

mail::AppendRequest::Header HeaderOf(ImapSession& session, const imap::AppendArgs& args, const std::string& folder_id) {
  mail::AppendRequest::Header header;
  *header.mutable_account() = session.account();
  header.set_folder_id(folder_id);
  header.set_flags(args.flags.system);
  for (const std::string& keyword : args.flags.keywords) header.add_keywords(keyword);
  if (args.date.has_value()) {
    header.mutable_internal_date()->set_seconds(args.date->seconds);
    header.set_internal_date_zone(args.date->zone_minutes);
  }
  header.set_operation_id(NewOperationId());
  return header;
}

}  // namespace

HandlerResult CmdAppend(ImapSession& session, imap::Command command) {
  const imap::AppendArgs args = std::get<imap::AppendArgs>(std::move(command.args));
  const std::optional<std::string> name = imap::DecodeMailboxName(args.mailbox);
  if (!name.has_value()) co_return No("CANNOT", "Invalid mailbox name");
  // RFC 7889 §3
  if (args.message_bytes > session.shared().settings.max_append_bytes)
    co_return No("TOOBIG", "Message exceeds APPENDLIMIT");
  if (args.message_bytes == 0) co_return Bad("Message literal is empty");
  mail::GetFolderRequest get;
  *get.mutable_account() = session.account();
  get.set_name(*name);
  const absl::StatusOr<mail::GetFolderResponse> folder =
      co_await session.shared().mailbox.GetFolder(session.trace(), std::move(get));
  if (!folder.ok()) co_return ReplyForTarget(folder.status());
  if (folder->folder().no_select()) co_return No("CANNOT", "Mailbox is \\Noselect");

  if (session.reader().message_synchronising()) session.out() += "+ Ready for literal data\r\n";
  Message message(session, HeaderOf(session, args, folder->folder().folder_id()));
  PH_CO_RETURN_IF_ERROR(co_await message.Receive());
  if (!message.well_formed()) co_return Bad("Missing CRLF after the message; MULTIAPPEND is not supported");
  if (message.has_nul()) co_return Bad("NUL is not allowed");
  const absl::StatusOr<mail::AppendResponse> response = co_await message.Commit();
  if (!response.ok()) co_return ReplyForTarget(response.status());
  // RFC 3501 §6.3.11: EXISTS for a message in the selected mailbox. The hint may come later.
  if (session.selected() != nullptr && session.selected()->folder_id().value() == folder->folder().folder_id()) {
    PH_CO_RETURN_IF_ERROR(co_await session.Sync());
  }
  // RFC 4315 §3. The message is durable.
  co_return OkWith(absl::StrCat("APPENDUID ", response->uid_validity(), " ", response->uid()), "APPEND completed");
}

}  // namespace posthouse::gateway
