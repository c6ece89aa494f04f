#include "tools/posthousectl/items.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "posthouse/ingress/v1/ingress.pb.h"
#include "posthouse/queue/v1/queue.pb.h"
#include "services/common/time/proto_time.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

namespace v1 = queue::v1;

std::string StateName(v1::RecipientState state) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::RecipientState_Name(state), "RECIPIENT_STATE_"));
}

std::string Path(const std::string& address) { return absl::StrCat("<", Printable(address), ">"); }

std::string TraceIdOf(const std::string& traceparent) {
  // W3C trace context: version "-" trace-id "-" parent-id "-" flags.
  return traceparent.size() >= 35 ? traceparent.substr(3, 32) : "-";
}

// "mx1.example.org [192.0.2.1:25]: 250 2.0.0 ok (3 ms, TLSv1.3)"
std::string DescribeAttempt(const v1::Attempt& attempt) {
  std::string out = Printable(attempt.host().empty() ? attempt.address() : attempt.host());
  if (!attempt.host().empty() && !attempt.address().empty() && attempt.address() != attempt.host()) {
    absl::StrAppend(&out, " [", Printable(attempt.address()), "]");
  }
  if (out.empty()) out = "no host";
  out.append(": ");
  if (attempt.reply().code() != 0) {
    absl::StrAppend(&out, attempt.reply().code(), " ", attempt.reply().enhanced(),
                    attempt.reply().enhanced().empty() ? "" : " ", Printable(attempt.reply().text()));
    if (!attempt.error().empty()) absl::StrAppend(&out, " - ", Printable(attempt.error()));
  } else {
    absl::StrAppend(&out, Printable(attempt.error()));
  }
  absl::StrAppend(&out, " (", FormatAge(FromProto(attempt.took())), attempt.tls().empty() ? "" : ", ",
                  Printable(attempt.tls()), ")");
  return out;
}

// "in 3 min" or "now".
std::string Until(absl::Time when, absl::Time now) {
  // queue.proto: held after a restore.
  if (when >= absl::FromUnixSeconds(253370764800)) return "held: see queue retry";
  return when <= now ? "now" : absl::StrCat("in ", FormatAge(when - now));
}

std::string DescribeRecipient(const v1::ItemRecipient& recipient, absl::Time now) {
  const v1::EnvelopeRecipient& who = recipient.recipient();
  std::string out = absl::StrCat("  to         ", Path(who.address()));
  if (!who.original().empty() && who.original() != who.address())
    absl::StrAppend(&out, " (was ", Path(who.original()), ")");
  absl::StrAppend(&out, "  ", StateName(recipient.state()));
  if (recipient.attempts() > 0)
    absl::StrAppend(&out, " after ", recipient.attempts(), recipient.attempts() == 1 ? " attempt" : " attempts");
  if (recipient.state() == v1::RECIPIENT_STATE_QUEUED) {
    absl::StrAppend(&out, ", next ", Until(FromProto(recipient.next_attempt()), now));
  }
  out.push_back('\n');
  if (recipient.has_last()) absl::StrAppend(&out, "             ", DescribeAttempt(recipient.last()), "\n");
  if (recipient.has_blocked()) {
    const v1::Block& block = recipient.blocked();
    absl::StrAppend(&out, "             waits for ", Printable(block.destination()), ": not reached since ",
                    ShowTime(FromProto(block.since())), ", probed again ", Until(FromProto(block.until()), now), "\n");
    absl::StrAppend(&out, "             ", DescribeAttempt(block.last()), "\n");
  }
  return out;
}

}  // namespace

std::vector<std::string> ItemHead() { return {"QUEUE ID", "AGE", "SIZE", "FROM", "WAITING", "NEXT", "LAST ANSWER"}; }

std::vector<std::string> ItemRow(const v1::Item& item, absl::Time now) {
  std::vector<std::string> waiting;
  std::string last;
  absl::Time next = absl::InfiniteFuture();
  bool blocked = false;  // the recipient whose time comes next
  for (const v1::ItemRecipient& r : item.recipients()) {
    if (r.state() != v1::RECIPIENT_STATE_QUEUED) continue;
    waiting.push_back(Printable(r.recipient().address()));
    if (last.empty() && r.has_last()) last = DescribeAttempt(r.last());
    if (last.empty() && r.has_blocked()) last = DescribeAttempt(r.blocked().last());
    absl::Time time = FromProto(r.next_attempt());
    if (r.has_blocked()) time = std::max(time, FromProto(r.blocked().until()));
    if (time >= next) continue;
    next = time;
    blocked = r.has_blocked();
  }
  if (waiting.empty()) next = FromProto(item.next_attempt());
  std::string names = waiting.empty() ? "-" : waiting[0];
  if (waiting.size() > 1) absl::StrAppend(&names, " and ", waiting.size() - 1, " more");
  return {item.queue_id(),
          FormatAge(now - FromProto(item.accepted())),
          FormatBytes(item.size_bytes()),
          Path(item.envelope().reverse_path()),
          names,
          absl::StrCat(blocked ? "blocked, " : "", Until(next, now)),
          last.empty() ? "-" : last};
}

std::vector<std::string> DestinationHead() {
  return {"DESTINATION", "WAITING", "RUNNING", "PROBED", "BLOCKED SINCE", "DOMAINS", "LAST ANSWER"};
}

std::vector<std::string> DestinationRow(const v1::DestinationState& state, absl::Time now) {
  std::vector<std::string> domains;
  for (const std::string& domain : state.domains()) domains.push_back(Printable(domain));
  if (domains.size() > 3) domains.resize(3);
  const v1::Block& block = state.blocked();
  return {state.destination().empty() ? "(to be resolved)" : Printable(state.destination()),
          absl::StrCat(state.waiting()),
          state.limit() == 0 ? "0" : absl::StrCat(state.in_progress(), " of ", state.limit()),
          state.has_blocked() ? Until(FromProto(block.until()), now) : "-",
          state.has_blocked() ? ShowTime(FromProto(block.since())) : "-",
          domains.empty() ? "-" : absl::StrCat(absl::StrJoin(domains, ", "), state.domains_size() > 3 ? ", ..." : ""),
          state.has_blocked() ? DescribeAttempt(block.last()) : "-"};
}

std::string DescribeItem(const v1::Item& item, absl::Time now) {
  const v1::Envelope& envelope = item.envelope();
  std::string out = absl::StrCat(item.queue_id(), "  ", item.has_settled() ? "done" : "in the queue", "\n");
  absl::StrAppend(&out, "  accepted   ", ShowTime(FromProto(item.accepted())), ", ", FormatBytes(item.size_bytes()));
  if (!envelope.client_address().empty()) {
    absl::StrAppend(&out, ", from ", Printable(envelope.client_address()), " (", Printable(envelope.client_name()),
                    ")");
  }
  if (!envelope.authenticated_as().empty()) absl::StrAppend(&out, " as ", Printable(envelope.authenticated_as()));
  if (!item.dsn_for().empty()) absl::StrAppend(&out, ", a delivery report on ", item.dsn_for());
  absl::StrAppend(&out, "\n  from       ", Path(envelope.reverse_path()), "\n  Message-ID ",
                  item.message_id().empty() ? "-" : Printable(item.message_id()), "\n  trace      ",
                  TraceIdOf(envelope.traceparent()), "\n");
  for (const v1::ItemRecipient& recipient : item.recipients()) out.append(DescribeRecipient(recipient, now));
  for (const v1::Attempt& attempt : item.history()) {
    absl::StrAppend(&out, "  attempt    ", ShowTime(FromProto(attempt.at())), "  ", DescribeAttempt(attempt), "\n");
  }
  if (item.has_settled()) {
    absl::StrAppend(&out, "  done       ", ShowTime(FromProto(item.settled())), ", ",
                    FormatAge(FromProto(item.settled()) - FromProto(item.accepted())), " after it was accepted\n");
  } else {
    absl::StrAppend(&out, "  expires    ", ShowTime(FromProto(item.expires())), "\n");
  }
  return out;
}

std::string DescribeRefusal(const ingress::v1::Refusal& refusal) {
  std::string out =
      absl::StrCat("refused by ingress at ", Printable(refusal.stage()), ": ", Printable(refusal.reason()), "\n");
  absl::StrAppend(&out, "  at         ", ShowTime(FromProto(refusal.at())), ", from ",
                  Printable(refusal.client_address()), " (", Printable(refusal.helo()), ") on port ",
                  Printable(refusal.port()));
  if (!refusal.login().empty()) absl::StrAppend(&out, " as ", Printable(refusal.login()));
  absl::StrAppend(&out, "\n  from       ", Path(refusal.reverse_path()), "\n");
  for (const std::string& recipient : refusal.recipients()) {
    absl::StrAppend(&out, "  to         ", Path(recipient), "\n");
  }
  if (!refusal.reply().empty()) absl::StrAppend(&out, "  reply      ", Printable(refusal.reply()), "\n");
  if (!refusal.error().empty()) absl::StrAppend(&out, "  cause      ", Printable(refusal.error()), "\n");
  if (!refusal.trace_id().empty()) absl::StrAppend(&out, "  trace      ", Printable(refusal.trace_id()), "\n");
  return out;
}

}  // namespace posthouse::ctl
