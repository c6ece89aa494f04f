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
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"
#include "services/mail_formats/imap/mailbox_name.h"

namespace posthouse::gateway {
namespace {

constexpr size_t kPieceBytes = 128 * 1024;

// One message on its way. It is read to its end even when the stream fails, since the client sends
// all of it.
class Message {
 public:
  Message(ImapSession& session, mail::AppendRequest::Header header) : session_(session) {
    *first_.mutable_header() = std::move(header);
  }

  // Reads the message and the end of the command. An error: the connection is lost.
  Task<absl::Status> Receive() {
    session_.reader().AcceptMessage();
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
      if (buffer_.size() >= kPieceBytes && session_.reader().message_bytes() > 0) co_await SendPiece();
    }
    co_return co_await ReadEnd();
  }

  bool well_formed() const { return well_formed_; }
  bool has_nul() const { return has_nul_; }

  Task<absl::StatusOr<mail::AppendResponse>> Commit() {
    if (!started()) {  // one write holds all of it
      first_.mutable_header()->set_data(std::move(buffer_));
      first_.mutable_header()->set_commit(true);
      co_await Send(std::move(first_));
    } else {
      if (!buffer_.empty()) co_await SendPiece();
      mail::AppendRequest commit;
      commit.mutable_commit()->set_size_bytes(size_);
      co_await Send(std::move(commit));
    }
    co_return co_await stream_->Finish();
  }

 private:
  bool started() const { return stream_.has_value(); }

  Task<void> SendPiece() {
    if (!started()) co_await Send(std::move(first_));
    mail::AppendRequest data;
    data.set_data(std::exchange(buffer_, std::string()));
    co_await Send(std::move(data));
  }

  // After a failure nothing more is sent; Finish() tells why.
  Task<void> Send(mail::AppendRequest request) {
    if (failed_) co_return;
    if (!started()) stream_.emplace(session_.shared().mailbox.Append(session_.trace(), session_.account()));
    failed_ = !(co_await stream_->Write(std::move(request))).ok();
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
          well_formed_ = session_.reader().text().empty();
          co_return absl::OkStatus();
        default:
          co_return absl::OkStatus();
      }
    }
  }

  ImapSession& session_;
  mail::AppendRequest first_;
  std::optional<AppendStream> stream_;
  std::string buffer_;
  uint64_t size_ = 0;
  bool failed_ = false;
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
  if (!message.well_formed()) co_return Bad("Expected CRLF after the message; MULTIAPPEND is not supported");
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
