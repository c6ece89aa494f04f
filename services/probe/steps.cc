#include "services/probe/steps.h"

#include <functional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "services/common/status/status.h"

namespace posthouse::probe {
namespace {

// How often the mailbox is asked for the message.
constexpr absl::Duration kPause = absl::Milliseconds(100);
// POP3 has no search: the message is looked for among this many at the end.
constexpr int kNewest = 50;

absl::Status Unexpected(absl::string_view command, absl::string_view answer) {
  return absl::FailedPreconditionError(
      absl::StrCat(command, " was answered: ", absl::CHexEscape(answer.substr(0, 300))));
}

// RFC 4616.
std::string PlainLogin(const Journey& journey) {
  const std::string nul(1, '\0');
  return absl::Base64Escape(absl::StrCat(nul, journey.account, nul, journey.password));
}

std::string BodyOf(const Journey& journey) {
  return absl::StrCat("This message was sent by a probe of Posthouse, which reads and deletes it.\r\n", journey.token,
                      "\r\n");
}

// Whether `text` is the message: its body is whole, whatever header fields were added.
absl::Status Compare(const Journey& journey, absl::string_view text) {
  if (absl::StrContains(text, absl::StrCat("\r\n\r\n", BodyOf(journey)))) return absl::OkStatus();
  return absl::DataLossError("the message that was read is not the one that was sent");
}

bool IsLastOfReply(absl::string_view line) { return line.size() < 4 || line[3] != '-'; }  // RFC 5321 §4.2.1

// Sends a command of SMTP and reads its reply, which must begin with `wanted`.
Task<absl::Status> Smtp(LineClient& client, std::string command, std::string shown, std::string wanted) {
  if (!command.empty()) {
    command += "\r\n";
    PH_CO_RETURN_IF_ERROR(co_await client.Send(std::move(command)));
  }
  PH_CO_ASSIGN_OR_RETURN(const std::string reply, co_await client.ReadUntil(IsLastOfReply));
  co_return absl::StartsWith(reply, wanted) ? absl::OkStatus() : Unexpected(shown, reply);
}

// An IMAP connection that is logged in.
class Imap {
 public:
  static Task<absl::StatusOr<Imap>> Open(const Journey& journey, Target to) {
    PH_CO_ASSIGN_OR_RETURN(LineClient client, co_await LineClient::Open(journey.loop, to, journey.tls, journey.tls_name,
                                                                        journey.deadline));
    Imap imap(std::move(client));
    PH_CO_ASSIGN_OR_RETURN(const std::string greeting, co_await imap.client_.ReadLine());
    if (!absl::StartsWith(greeting, "* OK")) co_return Unexpected("the connection", greeting);
    std::string login = absl::StrCat("AUTHENTICATE PLAIN ", PlainLogin(journey));  // RFC 4959
    PH_CO_RETURN_IF_ERROR((co_await imap.Call(std::move(login), "AUTHENTICATE")).status());
    PH_CO_RETURN_IF_ERROR((co_await imap.Call("SELECT INBOX", "SELECT")).status());
    co_return std::move(imap);
  }
  // All of the answer. An error unless it is OK.
  Task<absl::StatusOr<std::string>> Call(std::string command, std::string shown) {
    const std::string tag = absl::StrCat("p", ++calls_, " ");
    std::string line = absl::StrCat(tag, command, "\r\n");
    PH_CO_RETURN_IF_ERROR(co_await client_.Send(std::move(line)));
    std::function<bool(absl::string_view)> last = [&tag](absl::string_view l) { return absl::StartsWith(l, tag); };
    PH_CO_ASSIGN_OR_RETURN(const std::string answer, co_await client_.ReadUntil(last));
    if (!absl::StrContains(answer, tag + "OK")) co_return Unexpected(shown, answer);
    co_return answer;
  }
  // UIDs of the messages whose subject has `text`.
  Task<absl::StatusOr<std::vector<uint32_t>>> Find(std::string text) {
    std::string command = absl::StrCat("UID SEARCH SUBJECT ", text);
    PH_CO_ASSIGN_OR_RETURN(const std::string answer, co_await Call(std::move(command), "SEARCH"));
    std::vector<uint32_t> uids;
    for (absl::string_view line : absl::StrSplit(answer, "\r\n")) {
      if (!absl::StartsWith(line, "* SEARCH")) continue;
      for (absl::string_view word : absl::StrSplit(line.substr(8), ' ', absl::SkipEmpty())) {
        uint32_t uid = 0;
        if (absl::SimpleAtoi(word, &uid)) uids.push_back(uid);
      }
    }
    co_return uids;
  }
  Task<absl::Status> Logout() {
    const absl::StatusOr<std::string> bye = co_await Call("LOGOUT", "LOGOUT");
    co_return bye.status();
  }

 private:
  explicit Imap(LineClient client) : client_(std::move(client)) {}
  LineClient client_;
  int calls_ = 0;
};

// Sends a command of POP3; its answer must be +OK. With `multi`: all lines to the final dot.
Task<absl::StatusOr<std::string>> Pop3(LineClient& client, std::string command, std::string shown, bool multi) {
  if (!command.empty()) {
    command += "\r\n";
    PH_CO_RETURN_IF_ERROR(co_await client.Send(std::move(command)));
  }
  PH_CO_ASSIGN_OR_RETURN(std::string answer, co_await client.ReadLine());
  if (!absl::StartsWith(answer, "+OK")) co_return Unexpected(shown, answer);
  if (!multi) co_return answer;
  std::function<bool(absl::string_view)> last = [](absl::string_view line) { return line == "."; };
  co_return co_await client.ReadUntil(last);
}

}  // namespace

Task<absl::Status> Submit(const Journey& journey, Target to) {
  PH_CO_ASSIGN_OR_RETURN(LineClient client,
                         co_await LineClient::Open(journey.loop, to, journey.tls, journey.tls_name, journey.deadline));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, "", "the connection", "220"));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, "EHLO posthouse-probe", "EHLO", "250"));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, absl::StrCat("AUTH PLAIN ", PlainLogin(journey)), "AUTH", "235"));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, absl::StrCat("MAIL FROM:<", journey.account, ">"), "MAIL", "250"));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, absl::StrCat("RCPT TO:<", journey.account, ">"), "RCPT", "250"));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, "DATA", "DATA", "354"));
  std::string message = absl::StrCat(
      "Date: ", absl::FormatTime("%a, %d %b %Y %H:%M:%S +0000", absl::Now(), absl::UTCTimeZone()), "\r\nFrom: <",
      journey.account, ">\r\nTo: <", journey.account, ">\r\nSubject: ", kSubject, journey.token, "\r\nMessage-ID: <",
      journey.token, "@posthouse-probe.invalid>\r\n\r\n", BodyOf(journey), ".");
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, std::move(message), "the message", "250"));
  co_return co_await Smtp(client, "QUIT", "QUIT", "221");
}

Task<absl::StatusOr<uint32_t>> ReadByImap(const Journey& journey, Target to) {
  PH_CO_ASSIGN_OR_RETURN(Imap imap, co_await Imap::Open(journey, to));
  std::vector<uint32_t> uids;
  while (true) {
    PH_CO_ASSIGN_OR_RETURN(uids, co_await imap.Find(journey.token));
    if (!uids.empty()) break;
    if (absl::Now() + kPause >= journey.deadline) co_return absl::DeadlineExceededError("the message did not arrive");
    co_await Sleep(kPause);
    PH_CO_RETURN_IF_ERROR((co_await imap.Call("NOOP", "NOOP")).status());
  }
  std::string fetch = absl::StrCat("UID FETCH ", uids[0], " (BODY.PEEK[])");
  PH_CO_ASSIGN_OR_RETURN(const std::string answer, co_await imap.Call(std::move(fetch), "FETCH"));
  PH_CO_RETURN_IF_ERROR(Compare(journey, answer));
  PH_CO_RETURN_IF_ERROR(co_await imap.Logout());
  co_return uids[0];
}

Task<absl::Status> Delete(const Journey& journey, Target to) {
  PH_CO_ASSIGN_OR_RETURN(Imap imap, co_await Imap::Open(journey, to));
  PH_CO_ASSIGN_OR_RETURN(const std::vector<uint32_t> uids, co_await imap.Find(kSubject));
  for (const uint32_t uid : uids) {
    std::string store = absl::StrCat("UID STORE ", uid, " +FLAGS.SILENT (\\Deleted)");
    PH_CO_RETURN_IF_ERROR((co_await imap.Call(std::move(store), "STORE")).status());
    std::string expunge = absl::StrCat("UID EXPUNGE ", uid);  // RFC 4315
    PH_CO_RETURN_IF_ERROR((co_await imap.Call(std::move(expunge), "EXPUNGE")).status());
  }
  co_return co_await imap.Logout();
}

Task<absl::Status> ReadByPop3(const Journey& journey, Target to) {
  PH_CO_ASSIGN_OR_RETURN(LineClient client,
                         co_await LineClient::Open(journey.loop, to, journey.tls, journey.tls_name, journey.deadline));
  PH_CO_RETURN_IF_ERROR((co_await Pop3(client, "", "the connection", false)).status());
  PH_CO_RETURN_IF_ERROR((co_await Pop3(client, absl::StrCat("USER ", journey.account), "USER", false)).status());
  PH_CO_RETURN_IF_ERROR((co_await Pop3(client, absl::StrCat("PASS ", journey.password), "PASS", false)).status());
  PH_CO_ASSIGN_OR_RETURN(const std::string stat, co_await Pop3(client, "STAT", "STAT", false));
  const std::vector<std::string> words = absl::StrSplit(stat, ' ');
  int messages = 0;
  if (words.size() < 2 || !absl::SimpleAtoi(words[1], &messages)) co_return Unexpected("STAT", stat);
  for (int number = messages; number > 0 && number > messages - kNewest; --number) {
    PH_CO_ASSIGN_OR_RETURN(const std::string header,
                           co_await Pop3(client, absl::StrCat("TOP ", number, " 0"), "TOP", true));
    if (!absl::StrContains(header, journey.token)) continue;
    PH_CO_ASSIGN_OR_RETURN(const std::string text, co_await Pop3(client, absl::StrCat("RETR ", number), "RETR", true));
    PH_CO_RETURN_IF_ERROR(Compare(journey, text));
    co_return (co_await Pop3(client, "QUIT", "QUIT", false)).status();
  }
  co_return absl::NotFoundError("the message is not in the maildrop");
}

Task<absl::Status> RefusesRelay(const Journey& journey, Target to) {
  PH_CO_ASSIGN_OR_RETURN(LineClient client, co_await LineClient::Open(journey.loop, to, nullptr, "", journey.deadline));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, "", "the connection", "220"));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, "EHLO posthouse-probe", "EHLO", "250"));
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, "MAIL FROM:<>", "MAIL", "250"));
  // RFC 2606 §3: a domain that is not ours. The transaction goes no further.
  PH_CO_RETURN_IF_ERROR(co_await Smtp(client, "RCPT TO:<relay-check@example.com>", "RCPT to another domain", "5"));
  co_return co_await Smtp(client, "QUIT", "QUIT", "221");
}

}  // namespace posthouse::probe
