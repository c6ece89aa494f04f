#include "services/ingress/testing/smtp_client.h"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/async/task.h"
#include "services/common/status/status.h"
#include "services/mail_formats/smtp/reply.h"

namespace posthouse::ingress {
namespace {

constexpr absl::Duration kLong = absl::Seconds(60);

// On the loop, as connections want it.
template <typename T>
T Run(Executor& loop, Task<T> task) {
  const auto on_loop = [](Executor& executor, Task<T> inner) -> Task<T> {
    co_await SwitchTo(executor);
    co_return co_await std::move(inner);
  };
  return SyncWait(on_loop(loop, std::move(task)));
}

Task<absl::Status> Handshake(net::Connection& connection) {
  absl::StatusOr<std::shared_ptr<net::TlsClientContext>> context =
      net::TlsClientContext::Create(net::VerifyPeer::kNone, "");
  if (!context.ok()) co_return context.status();
  co_return co_await connection.StartTlsClient(*context, "mx.example", kLong);
}

}  // namespace

SmtpTestClient::SmtpTestClient(net::EventLoop& loop, uint16_t port, bool implicit_tls) : loop_(loop) {
  auto connection = Run(loop_, net::Connect(loop_, {"127.0.0.1", port}, "", kLong));
  PH_CHECK(connection.ok());
  connection_ = *std::move(connection);
  if (implicit_tls) PH_CHECK(StartTls());
}

SmtpTestClient::~SmtpTestClient() { Close(); }

void SmtpTestClient::Close() {
  const auto drop = [](std::unique_ptr<net::Connection> connection) -> Task<bool> { co_return true; };
  if (connection_ != nullptr) Run(loop_, drop(std::move(connection_)));
}

bool SmtpTestClient::TrySend(std::string bytes) { return Run(loop_, connection_->Write(std::move(bytes), kLong)).ok(); }
void SmtpTestClient::Send(std::string bytes) { PH_CHECK(TrySend(std::move(bytes))); }
bool SmtpTestClient::StartTls() { return Run(loop_, Handshake(*connection_)).ok(); }

std::string SmtpTestClient::Reply() {
  std::string reply;
  while (true) {
    const absl::StatusOr<std::string> line = Run(loop_, connection_->ReadLine(10000, kLong));
    if (!line.ok()) return "";
    absl::StrAppend(&reply, *line, "\r\n");
    if (line->size() < 4 || (*line)[3] != '-') return reply;
  }
}

std::string SmtpTestClient::Code() {
  const std::string reply = Reply();
  if (reply.empty()) return "closed";
  smtp::ReplyParser parser;
  absl::string_view input = reply;
  const auto parsed = parser.Feed(&input);
  if (!parsed.ok() || !parsed->has_value()) return absl::StrCat("not a reply: ", reply);
  return absl::StrCat((*parsed)->code, (*parsed)->enhanced.empty() ? "" : " ", (*parsed)->enhanced);
}

std::string SmtpTestClient::Say(absl::string_view line) {
  if (!TrySend(absl::StrCat(line, "\r\n"))) return "closed";
  return Code();
}

std::string SmtpTestClient::Play(absl::string_view transcript) {
  for (const absl::string_view raw : absl::StrSplit(transcript, '\n')) {
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty()) continue;
    const absl::string_view rest = line.size() > 3 ? line.substr(3) : absl::string_view();
    if (absl::StartsWith(line, "C:")) {
      if (!TrySend(absl::StrCat(rest, "\r\n"))) return absl::StrCat("the server closed before \"", line, "\"");
      continue;
    }
    const std::vector<std::string> lines = absl::StrSplit(Reply(), "\r\n", absl::SkipEmpty());
    const std::string last = lines.empty() ? "closed" : lines.back();
    if (!absl::StartsWith(last, rest)) return absl::StrCat("expected \"", line, "\", got \"", last, "\"");
  }
  return "";
}

}  // namespace posthouse::ingress
