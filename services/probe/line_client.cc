#include "services/probe/line_client.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/common/rpc/members.h"
#include "services/common/status/status.h"

namespace posthouse::probe {
namespace {

constexpr size_t kMaxLine = 64 * 1024;
constexpr size_t kMaxAnswer = 1024 * 1024;

absl::Status TooLong() { return absl::ResourceExhaustedError("the answer is longer than 1 MiB"); }

// The length of the literal that a line announces at its end: "... {123}"; -1: none.
int64_t LiteralOf(absl::string_view line) {
  if (!absl::EndsWith(line, "}")) return -1;
  const size_t open = line.rfind('{');
  int64_t bytes = 0;
  if (open == absl::string_view::npos || !absl::SimpleAtoi(line.substr(open + 1, line.size() - open - 2), &bytes)) {
    return -1;
  }
  return bytes;
}

}  // namespace

absl::StatusOr<Target> Target::Parse(absl::string_view text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || colon == 0 || !absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 1 ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not HOST:PORT"));
  }
  absl::string_view host = text.substr(0, colon);
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) host = host.substr(1, host.size() - 2);
  return Target{std::string(host), absl::StrCat(port)};
}

absl::Duration LineClient::Left() const { return std::max(deadline_ - absl::Now(), absl::ZeroDuration()); }

Task<absl::StatusOr<LineClient>> LineClient::Open(net::EventLoop& loop, Target to,
                                                  std::shared_ptr<net::TlsClientContext> tls, std::string tls_name,
                                                  absl::Time deadline) {
  const absl::StatusOr<std::vector<std::string>> addresses = rpc::ResolveHost(to.host, to.port);
  if (!addresses.ok()) co_return addresses.status();
  absl::Status status = absl::NotFoundError(absl::StrCat(to.host, " has no address"));
  for (const std::string& address : *addresses) {
    const absl::StatusOr<Target> literal = Target::Parse(address);
    if (!literal.ok()) continue;
    net::Endpoint endpoint;
    endpoint.address = literal->host;
    int port = 0;
    (void)absl::SimpleAtoi(literal->port, &port);
    endpoint.port = static_cast<uint16_t>(port);
    std::string any;
    absl::StatusOr<std::unique_ptr<net::Connection>> connection =
        co_await net::Connect(loop, endpoint, any, std::max(deadline - absl::Now(), absl::ZeroDuration()));
    if (!connection.ok()) {
      status = Annotate(connection.status(), address);
      continue;
    }
    LineClient client(*std::move(connection), deadline);
    if (tls != nullptr) {
      const absl::Status shaken = co_await client.connection_->StartTlsClient(tls, tls_name, client.Left());
      if (!shaken.ok()) co_return Annotate(shaken, absl::StrCat(address, ": TLS"));
    }
    co_return std::move(client);
  }
  co_return status;
}

Task<absl::Status> LineClient::Send(std::string bytes) {
  co_return co_await connection_->Write(std::move(bytes), Left());
}

Task<absl::StatusOr<std::string>> LineClient::ReadLine() {
  std::string all;
  while (true) {
    absl::StatusOr<std::string> line = co_await connection_->ReadLine(kMaxLine, Left());
    if (!line.ok()) co_return line.status();
    all += *line;
    const int64_t literal = LiteralOf(*line);
    if (literal < 0) co_return all;
    if (all.size() + static_cast<uint64_t>(literal) > kMaxAnswer) co_return TooLong();
    all += "\r\n";
    if (literal == 0) continue;
    absl::StatusOr<std::string> bytes = co_await connection_->ReadExactly(static_cast<size_t>(literal), Left());
    if (!bytes.ok()) co_return bytes.status();
    all += *bytes;
  }
}

Task<absl::StatusOr<std::string>> LineClient::ReadUntil(std::function<bool(absl::string_view line)> last) {
  std::string all;
  while (true) {
    absl::StatusOr<std::string> line = co_await ReadLine();
    if (!line.ok()) co_return line.status();
    if (!all.empty()) all += "\r\n";
    all += *line;
    if (last(*line)) co_return all;
    if (all.size() > kMaxAnswer) co_return TooLong();
  }
}

}  // namespace posthouse::probe
