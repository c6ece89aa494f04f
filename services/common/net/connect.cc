// Connect(): see connection.h.
#include <memory>
#include <string>
#include <utility>

#include <asio/connect.hpp>

#include "absl/strings/str_cat.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop_impl.h"
#include "services/common/net/socket_connection.h"

namespace posthouse::net {

Task<absl::StatusOr<std::unique_ptr<Connection>>> Connect(EventLoop& loop, Endpoint to, std::string source_address,
                                                          absl::Duration timeout) {
  if (Executor::Current() != &loop) co_await SwitchTo(loop);
  asio::error_code error;
  const asio::ip::address address = asio::ip::make_address(to.address, error);
  if (error) co_return absl::InvalidArgumentError(absl::StrCat("not an address: ", to.address));
  auto socket = std::make_shared<asio::ip::tcp::socket>(loop.impl().io);
  socket->open(address.is_v6() ? asio::ip::tcp::v6() : asio::ip::tcp::v4(), error);
  if (!error && !source_address.empty()) {
    const asio::ip::address source = asio::ip::make_address(source_address, error);
    if (!error) socket->bind(asio::ip::tcp::endpoint(source, 0), error);
  }
  if (error) {
    co_return absl::UnavailableError(absl::StrCat("cannot open a socket to ", to.ToString(), ": ", error.message()));
  }
  auto timed_out = std::make_shared<bool>(false);
  const uint64_t timer = loop.PostAfter(timeout, [socket, timed_out] {
    *timed_out = true;
    asio::error_code ignored;
    socket->close(ignored);
  });
  error = co_await AwaitCallback<asio::error_code>([&](absl::AnyInvocable<void(asio::error_code)> done) {
    socket->async_connect(asio::ip::tcp::endpoint(address, to.port),
                          [done = std::move(done)](const asio::error_code& e) mutable { done(e); });
  });
  loop.CancelTimer(timer);
  if (*timed_out) co_return absl::DeadlineExceededError(absl::StrCat("connecting to ", to.ToString(), " timed out"));
  if (error) co_return absl::UnavailableError(absl::StrCat("connecting to ", to.ToString(), ": ", error.message()));
  std::unique_ptr<Connection> connection = std::make_unique<SocketConnection>(loop, std::move(*socket));
  co_return connection;
}

}  // namespace posthouse::net
