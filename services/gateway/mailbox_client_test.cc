// The parts of long answers (mailbox.proto) make one, asked of a real gRPC service.
#include "services/gateway/mailbox_client.h"

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/async/task.h"

namespace posthouse::gateway {
namespace {

std::string Text(const google::protobuf::RepeatedPtrField<common::v1::UidRange>& ranges) {
  std::string out;
  for (const auto& range : ranges) absl::StrAppend(&out, range.first(), ":", range.last(), " ");
  return out;
}

// Answers one range or message at a time, and changes in between.
class InParts final : public mail::MailboxService::Service {
 public:
  grpc::Status ListUids(grpc::ServerContext*, const mail::ListUidsRequest* request,
                        mail::ListUidsResponse* response) override {
    ++calls;
    const bool first = request->after_uid() == 0;
    response->mutable_state()->set_uid_next(first ? 8 : 12);  // 8 to 11 came in between
    response->set_first_unseen_uid(first ? 1 : 7);
    Add(first ? 1 : 5, first ? 3 : 11, response->mutable_uids());
    EXPECT_EQ(request->after_uid(), first ? 0u : 3u);
    response->set_more(first);
    return grpc::Status::OK;
  }
  grpc::Status Search(grpc::ServerContext*, const mail::SearchRequest* request,
                      mail::SearchResponse* response) override {
    ++calls;
    const uint32_t next = request->after_uid() + 2;
    Add(next, next, response->mutable_uids());
    response->set_highest_modseq(100 - next);
    response->set_more(next < 6);
    return grpc::Status::OK;
  }
  grpc::Status StoreFlags(grpc::ServerContext*, const mail::StoreFlagsRequest* request,
                          mail::StoreFlagsResponse* response) override {
    ++calls;
    const uint32_t next = request->after_uid() + 1;
    response->mutable_rows()->add_uid(next);
    Add(next + 100, next + 100, response->mutable_modified());
    response->mutable_state()->set_highest_modseq(next);
    if (next < 3) response->set_continue_after(next);
    return grpc::Status::OK;
  }
  grpc::Status Expunge(grpc::ServerContext*, const mail::ExpungeRequest*, mail::ExpungeResponse* response) override {
    const auto call = static_cast<uint32_t>(++calls);
    Add(2 * call, 2 * call, response->mutable_expunged());
    response->mutable_state()->set_exists(10 - call);
    response->set_more(call < 2);
    return grpc::Status::OK;
  }
  grpc::Status GetChanges(grpc::ServerContext*, const mail::GetChangesRequest* request,
                          mail::GetChangesResponse* response) override {
    ++calls;
    if (fail_at == calls) return {grpc::StatusCode::UNAVAILABLE, "away"};
    const bool first = request->after_uid() == 0;
    EXPECT_EQ(request->after_modseq(), first || !full ? 7u : 0u);
    response->mutable_rows()->add_uid(first ? 1 : 2);
    response->mutable_state()->set_highest_modseq(first ? 20 : 30);
    response->set_full(full);
    if (first) Add(9, 9, response->mutable_vanished());
    response->set_more(first);
    return grpc::Status::OK;
  }

  int calls = 0;
  int fail_at = 0;
  bool full = false;

 private:
  static void Add(uint32_t first, uint32_t last, google::protobuf::RepeatedPtrField<common::v1::UidRange>* out) {
    auto* const range = out->Add();
    range->set_first(first);
    range->set_last(last);
  }
};

class MailboxClientTest : public testing::Test {
 protected:
  MailboxClientTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    rpc::Channels channels;
    channels.mailbox[Home()] = std::make_shared<rpc::Members>(server_->InProcessChannel({}));
    client_ = std::make_unique<MailboxClient>(channels);
  }
  ~MailboxClientTest() override {
    client_.reset();
    server_->Shutdown();
  }

  InParts service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<MailboxClient> client_;
};

TEST_F(MailboxClientTest, UidsAreThoseOfTheFirstPartsState) {
  const auto uids = SyncWait(client_->ListUids({}, mail::ListUidsRequest()));
  ASSERT_TRUE(uids.ok()) << uids.status();
  EXPECT_EQ(Text(uids->uids()), "1:3 5:7 ");
  EXPECT_EQ(uids->state().uid_next(), 8u);
  EXPECT_EQ(uids->first_unseen_uid(), 1u);
  EXPECT_EQ(service_.calls, 2);
}

TEST_F(MailboxClientTest, SearchGoesOnBehindWhatItFound) {
  const auto found = SyncWait(client_->Search({}, mail::SearchRequest()));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(Text(found->uids()), "2:2 4:4 6:6 ");
  EXPECT_EQ(found->highest_modseq(), 98u);
}

TEST_F(MailboxClientTest, FlagsAreStoredToTheEnd) {
  const auto stored = SyncWait(client_->StoreFlags({}, mail::StoreFlagsRequest()));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->rows().uid_size(), 3);
  EXPECT_EQ(Text(stored->modified()), "101:101 102:102 103:103 ");
  EXPECT_EQ(stored->state().highest_modseq(), 3u);
}

TEST_F(MailboxClientTest, ExpungeIsRepeatedUntilNothingIsLeft) {
  const auto expunged = SyncWait(client_->Expunge({}, mail::ExpungeRequest()));
  ASSERT_TRUE(expunged.ok());
  EXPECT_EQ(Text(expunged->expunged()), "2:2 4:4 ");
  EXPECT_EQ(expunged->state().exists(), 8u);
}

TEST_F(MailboxClientTest, ChangesResumeFromTheFirstPartsModseq) {
  mail::GetChangesRequest request;
  request.set_after_modseq(7);
  for (const bool full : {false, true}) {
    service_.full = full;
    const auto changes = SyncWait(client_->GetChanges({}, request));
    ASSERT_TRUE(changes.ok());
    EXPECT_EQ(changes->rows().uid_size(), 2);
    EXPECT_EQ(changes->full(), full);
    EXPECT_EQ(changes->state().highest_modseq(), 20u);
    EXPECT_EQ(Text(changes->vanished()), "9:9 ");
  }
  // Half of an answer is none.
  service_.calls = 0;
  service_.fail_at = 2;
  EXPECT_EQ(SyncWait(client_->GetChanges({}, request)).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace posthouse::gateway
