// MailHost: gateway and mailbox in one process, joined by gRPC without TCP in between.
//
// The mailbox keeps its data in memory, the directory is a fake that knows one account. Clients
// connect over loopback. FailingCalls makes the calls between gateway and mailbox fail.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "posthouse/config/v1/config.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/metrics/metrics.h"
#include "services/common/runtime/runtime.h"
#include "services/common/store/testing/memory_store.h"
#include "services/gateway/app.h"
#include "services/gateway/testing/fake_directory.h"
#include "services/mailbox/app.h"
#include "tests/conformance/failing_calls.h"

namespace posthouse::conformance {

class MailHost {
 public:
  // `plaintext_auth`: logins without TLS are allowed, whatever `gateway` says. Its ports are not used.
  explicit MailHost(const config::v1::Gateway& gateway = {}, bool plaintext_auth = true);
  ~MailHost();

  gateway::App& gateway() { return *gateway_; }
  metrics::Registry& registry() { return runtime_->registry(); }
  FailingCalls& failing_calls() { return *failing_calls_; }

  // Later logins get an account that is new and empty.
  void NewAccount();
  // A message reaches the account as a delivery or another client would bring it.
  void Deliver(const std::string& folder, const std::string& message, uint32_t flags = 0,
               const std::vector<std::string>& keywords = {});
  // A session of another client has the folder selected, and is told of its messages first: they are
  // not \Recent to later sessions.
  void SeenByAnother(const std::string& folder);
  // The bodies of all messages of the account are gone from the disk; what the mailbox has cached
  // of them is not.
  void LoseBodies();

 private:
  std::unique_ptr<runtime::Runtime> runtime_;
  const std::shared_ptr<store::MemoryDisk> disk_;
  std::unique_ptr<FailingCalls> failing_calls_;
  std::unique_ptr<mailbox::App> mailbox_;
  gateway::FakeDirectory directory_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<mailbox::v1::MailboxService::Stub> others_;  // calls that never fail
  std::unique_ptr<gateway::App> gateway_;
  int accounts_ = 0;
  common::v1::AccountRef account_;
};

}  // namespace posthouse::conformance
