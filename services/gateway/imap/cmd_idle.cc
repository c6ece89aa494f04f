// IDLE (RFC 2177): waits for DONE and reports changes as they happen.
//
// A hint interrupts the wait; a lost hint costs a poll interval. Commands that the client
// pipelines after DONE stay in the reader.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

// While it lives, hints interrupt reads.
class Idling {
 public:
  explicit Idling(ImapSession& session) : session_(session) {
    session_.set_idling(true);
    session_.shared().metrics.idle_sessions.Add(1);
  }
  ~Idling() {
    session_.set_idling(false);
    session_.shared().metrics.idle_sessions.Add(-1);
  }
  Idling(const Idling&) = delete;

 private:
  ImapSession& session_;
};

// Reports what has changed. True: there was something.
Task<absl::StatusOr<bool>> SyncAndReport(ImapSession& session) {
  if (session.selected() == nullptr) co_return false;
  PH_CO_RETURN_IF_ERROR(co_await session.Sync());
  if (session.selected() == nullptr || !session.selected()->has_updates()) co_return false;
  PH_CO_RETURN_IF_ERROR(co_await session.Report(/*expunges=*/true));
  co_return true;
}

// Waits for input, a hint or the next poll. OK: the reader may have input.
Task<absl::Status> Wait(ImapSession& session, absl::Time deadline) {
  PH_CO_RETURN_IF_ERROR(co_await session.Flush());
  session.reader().Release();
  const absl::Duration left = deadline - absl::Now();
  const absl::Duration poll = std::min(left, session.shared().settings.poll_interval);
  const absl::Status readable = co_await session.connection().WaitReadable(poll);
  if (readable.ok()) co_return co_await session.ReadInput();
  if (session.revoked().has_value()) co_return absl::AbortedError("the session was revoked");
  const bool hinted = readable.code() == absl::StatusCode::kCancelled;
  const bool polled = readable.code() == absl::StatusCode::kDeadlineExceeded && poll < left;
  if (!hinted && !polled) co_return readable;
  if (hinted && !session.Hinted()) co_return absl::OkStatus();  // a drain, or a hint of a change that the view has
  PH_CO_ASSIGN_OR_RETURN(const bool reported, co_await SyncAndReport(session));
  if (reported) (hinted ? session.shared().metrics.idle_woken : session.shared().metrics.idle_polled).Add();
  co_return absl::OkStatus();
}

}  // namespace

HandlerResult CmdIdle(ImapSession& session, imap::Command command) {
  session.out() += "+ idling\r\n";
  PH_CO_RETURN_IF_ERROR(co_await session.Flush());
  const absl::Time deadline = absl::Now() + session.read_timeout();
  const Idling idling(session);
  // Changes that happened before the client began to wait.
  PH_CO_RETURN_IF_ERROR((co_await SyncAndReport(session)).status());
  while (session.state() != State::kLogout) {
    switch (session.reader().NextLine()) {
      case imap::CommandReader::Event::kCommand: {
        const std::string line = session.reader().TakeText();
        if (absl::EqualsIgnoreCase(line, "DONE")) co_return Ok("IDLE completed");
        co_return Bad("Expected DONE");
      }
      case imap::CommandReader::Event::kNeedInput:
        if (session.draining()) co_return Ok("IDLE completed");
        if (session.revoked().has_value()) co_return absl::AbortedError("the session was revoked");
        PH_CO_RETURN_IF_ERROR(co_await Wait(session, deadline));
        break;
      default:
        co_return Bad("Expected DONE");
    }
  }
  co_return No("NONEXISTENT", "Mailbox was deleted");
}

}  // namespace posthouse::gateway
