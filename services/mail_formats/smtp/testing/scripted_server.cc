#include "services/mail_formats/smtp/testing/scripted_server.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/async/task.h"
#include "services/common/async/thread_pool.h"
#include "services/common/status/status.h"
#include "services/mail_formats/smtp/data_decoder.h"

namespace posthouse::smtp {
namespace {
constexpr absl::Duration kLong = absl::Seconds(30);
}  // namespace

ScriptedServer::ScriptedServer(net::EventLoops& loops, std::vector<std::string> script,
                               std::shared_ptr<net::TlsServerContext> tls)
    : script_(std::move(script)), tls_(std::move(tls)) {
  auto listener = net::Listener::Start(loops, net::ListenerOptions(),
                                       [this](std::unique_ptr<net::Connection> c) { return Serve(std::move(c)); });
  PH_CHECK(listener.ok());
  listener_ = *std::move(listener);
}

namespace {
// Drain needs a current executor.
Task<void> DrainOn(Executor& executor, net::Listener& listener) {
  co_await SwitchTo(executor);
  co_await listener.Drain(kLong);
}
}  // namespace

ScriptedServer::~ScriptedServer() {
  ThreadPool pool(1);
  SyncWait(DrainOn(pool, *listener_));
}

void ScriptedServer::WaitForEnd() {
  absl::MutexLock lock(&mutex_);
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_ > 0; };
  mutex_.Await(absl::Condition(&ended));
}

std::vector<std::string> ScriptedServer::problems() const {
  absl::MutexLock lock(&mutex_);
  return problems_;
}

std::string ScriptedServer::data() const {
  absl::MutexLock lock(&mutex_);
  return data_;
}

Task<void> ScriptedServer::Serve(std::unique_ptr<net::Connection> connection) {
  for (const std::string& step : script_) {
    if (step == "X") break;
    const absl::Status status = co_await Step(*connection, step);
    if (!status.ok()) {
      absl::MutexLock lock(&mutex_);
      problems_.push_back(absl::StrCat("at \"", step, "\": ", status.message()));
      break;
    }
  }
  connection->Close();
  absl::MutexLock lock(&mutex_);
  ++ended_;
}

Task<absl::Status> ScriptedServer::Step(net::Connection& connection, std::string step) {
  const std::string rest = step.size() > 2 ? step.substr(2) : "";
  switch (step[0]) {
    case 'S':
      co_return co_await connection.Write(rest + "\r\n", kLong);
    case 's':
      co_return co_await connection.Write(rest, kLong);
    case 'C': {
      absl::StatusOr<std::string> line = co_await connection.ReadLine(10000, kLong);
      if (!line.ok()) co_return line.status();
      if (*line != rest) co_return absl::InternalError(absl::StrCat("the client said \"", *line, "\""));
      co_return absl::OkStatus();
    }
    case 'D': {
      DataDecoder decoder(DataFormat::kDotStuffed, BareLinePolicy::kReject);
      std::string message;
      while (!decoder.done()) {
        absl::StatusOr<std::string> bytes = co_await connection.ReadSome(65536, kLong);
        if (!bytes.ok()) co_return bytes.status();
        const size_t used = decoder.Feed(*bytes, &message);
        connection.Unread(bytes->substr(used));
      }
      if (decoder.violation() != DataDecoder::Violation::kNone) co_return absl::InternalError("bare line ends");
      absl::MutexLock lock(&mutex_);
      data_ += message;
      co_return absl::OkStatus();
    }
    case 'B': {
      size_t bytes = 0;
      PH_CHECK(absl::SimpleAtoi(rest, &bytes));
      co_return (co_await connection.ReadExactly(bytes, kLong)).status();
    }
    case 'T':
      co_return co_await connection.StartTlsServer(tls_, kLong);
    case 'W': {
      absl::StatusOr<std::string> bytes = co_await connection.ReadSome(1, kLong);
      if (bytes.ok()) co_return absl::InternalError("the client went on");
      co_return absl::OkStatus();
    }
    default:
      PH_CHECK(false);
  }
  co_return absl::OkStatus();
}

}  // namespace posthouse::smtp
