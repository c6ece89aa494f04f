#include "services/common/rpc/audit.h"

#include <gtest/gtest.h>

#include <string>

#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/queue/v1/queue.pb.h"
#include "services/common/log/log.h"

namespace posthouse::rpc {
namespace {

std::string& Lines() {
  static auto& lines = *new std::string;
  return lines;
}

// Also what an operator does to queued mail.
TEST(AuditTest, ALineSaysWhoDidWhatToWhichObject) {
  log::SetSinkForTest([](absl::string_view line) { Lines().append(line.data(), line.size()); });
  queue::v1::DeleteItemRequest remove;
  remove.set_queue_id("01HF7YAT00QW8M3VZ1ABCDEFGH");
  AuditAdminCall("DeleteItem", remove, "ops.example", "0af7651916cd43dd8448eb211c80319c", absl::OkStatus());
  queue::v1::RetryItemsRequest retry;
  retry.set_domain("example.net");
  AuditAdminCall("RetryItems", retry, "inproc", "", absl::UnavailableError("stopping"));
  log::SetSinkForTest(nullptr);
  for (const char* wanted :
       {"\"event\":\"admin_call\"", "\"method\":\"DeleteItem\",\"target\":\"01HF7YAT00QW8M3VZ1ABCDEFGH\"",
        "\"peer\":\"ops.example\",\"code\":\"OK\"", "\"method\":\"RetryItems\",\"target\":\"example.net\"",
        "\"code\":\"UNAVAILABLE\""}) {
    EXPECT_NE(Lines().find(wanted), std::string::npos) << wanted << "\n" << Lines();
  }
}

TEST(AuditTest, TheTargetIsTheNameInTheRequestOrItsRecord) {
  directory::v1::CreateAccountRequest create;
  create.mutable_account()->set_address("bob@example.org");
  EXPECT_EQ(AuditTarget(create), "bob@example.org");
  EXPECT_EQ(AuditTarget(queue::v1::GetStatsRequest()), "");
}

}  // namespace
}  // namespace posthouse::rpc
