// FetchRender: writes FETCH responses from the stream of the mailbox service.
//
// Rows and pieces arrive in chunks, responses leave in slices. So a slow client slows the stream,
// and memory holds one chunk and one slice. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/common/ids/ids.h"
#include "services/gateway/imap/selected.h"
#include "services/mail_formats/imap/command.h"

namespace posthouse::mailbox::v1 {
class FetchRequest;
class FetchResponse;
class MessageRows;
}  // namespace posthouse::mailbox::v1

namespace posthouse::gateway {

// Fills the items of `request` from `args`.
void FillFetchRequest(const imap::FetchArgs& args, const Selected::Dialect& dialect, bool set_seen,
                      mail::FetchRequest* request);

class FetchRender {
 public:
  // The references must outlive the object. `uid`: UID FETCH. `with_flags`: the FETCH sets \Seen,
  // so FLAGS are reported, too.
  FetchRender(const imap::FetchArgs& args, bool uid, const Selected& view, const Selected::Dialect& dialect,
              bool with_flags);
  ~FetchRender();

  // The next chunk. The one before must be used up.
  void Take(mail::FetchResponse chunk);
  // Appends until `out` holds `limit` bytes or the chunk is used up. True: the chunk has more.
  // kDataLoss: the stream is not as mailbox.proto says.
  absl::StatusOr<bool> Next(std::string& out, size_t limit);
  // Call after the last chunk. kDataLoss: a literal was begun and cannot be completed, so the
  // connection must be closed.
  absl::Status Finish() const;
  // Messages whose response is complete.
  uint64_t answered() const { return answered_; }

 private:
  struct Pending {
    Uid uid;
    std::string begun;  // "* 5 FETCH (UID 7 FLAGS ()", without the sections
  };
  void AppendRow(std::string& out, const mail::MessageRows& rows, int i, uint32_t sequence) const;
  absl::Status AppendPiece(std::string& out, int index);
  bool OpenMessage(std::string& out, Uid uid);

  const imap::FetchArgs& args_;
  const bool uid_;
  const Selected& view_;
  const Selected::Dialect dialect_;
  const bool with_flags_;
  std::unique_ptr<mail::FetchResponse> chunk_;
  int row_ = 0;
  int piece_ = 0;
  std::deque<Pending> pending_;  // rows whose sections have not arrived
  Uid open_uid_;                 // empty: none
  Uid skipped_uid_;              // of a message that the view does not have
  size_t section_ = 0;           // next or current of the open message
  bool in_section_ = false;
  uint64_t left_ = 0;
  uint64_t answered_ = 0;
};

}  // namespace posthouse::gateway
