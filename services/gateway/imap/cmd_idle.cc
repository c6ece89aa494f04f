// IDLE (RFC 2177): waits for DONE and tells what happens meanwhile.
//
// A hint interrupts the wait; a hint that was lost costs a poll interval. What the
// client pipelines behind DONE stays in the reader for later.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "services/common/status/status.h"
#include "services/gateway/imap/commands.h"
#include "services/gateway/imap/session.h"

namespace posthouse::gateway {
namespace {

// Hints interrupt reads while this lives.
class Idling {
 public:
  explicit Idling(ImapSession& session) : session_(session) { session_.set_idling(true); }
  ~Idling() { session_.set_idling(false); }
  Idling(const Idling&) = delete;

 private:
  ImapSession& session_;
};

// Tells the client what is new. True: there was something.
Task<absl::StatusOr<bool>> TellNews(ImapSession& session) {
  if (session.selected() == nullptr) co_return false;
  PH_CO_RETURN_IF_ERROR(co_await session.Look());
  if (session.selected() == nullptr || !session.selected()->has_news()) co_return false;
  PH_CO_RETURN_IF_ERROR(co_await session.Announce(/*expunges=*/true));
  co_return true;
}

// Waits for input, a hint or the poll. OK: look at the reader again.
Task<absl::Status> Wait(ImapSession& session, absl::Time deadline) {
  PH_CO_RETURN_IF_ERROR(co_await session.Flush());
  session.reader().Release();
  const absl::Duration left = deadline - absl::Now();
  const absl::Duration poll = std::min(left, session.shared().settings.poll_interval);
  const absl::Status readable = co_await session.connection().WaitReadable(poll);
  if (readable.ok()) co_return co_await session.ReadInput();
  const bool hinted = readable.code() == absl::StatusCode::kCancelled;
  const bool polled = readable.code() == absl::StatusCode::kDeadlineExceeded && poll < left;
  if (!hinted && !polled) co_return readable;
  if (hinted && !session.Hinted()) co_return absl::OkStatus();  // a drain, or a hint that is old news
  PH_CO_ASSIGN_OR_RETURN(const bool told, co_await TellNews(session));
  if (told) (hinted ? session.shared().metrics.idle_woken : session.shared().metrics.idle_polled).Add();
  co_return absl::OkStatus();
}

}  // namespace

HandlerResult CmdIdle(ImapSession& session, imap::Command command) {
  session.out() += "+ idling\r\n";
  PH_CO_RETURN_IF_ERROR(co_await session.Flush());
  const absl::Time deadline = absl::Now() + session.read_timeout();
  const Idling idling(session);
  // What happened before the client began to wait.
  PH_CO_RETURN_IF_ERROR((co_await TellNews(session)).status());
  while (session.state() != State::kLogout) {
    switch (session.reader().NextLine()) {
      case imap::CommandReader::Event::kCommand: {
        const std::string line = session.reader().TakeText();
        if (absl::EqualsIgnoreCase(line, "DONE")) co_return Ok("Idle completed");
        co_return Bad("Expected DONE");
      }
      case imap::CommandReader::Event::kNeedInput:
        if (session.draining()) co_return Ok("Idle completed");
        PH_CO_RETURN_IF_ERROR(co_await Wait(session, deadline));
        break;
      default:
        co_return Bad("Expected DONE");
    }
  }
  co_return No("UNAVAILABLE", "The mailbox was deleted");
}

}  // namespace posthouse::gateway
