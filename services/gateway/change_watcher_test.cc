// The gateway's end of Watch, against a service that says what the test wants.
#include "services/gateway/change_watcher.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "posthouse/common/v1/common.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "services/common/net/event_loop.h"
#include "services/common/rpc/channels.h"

namespace posthouse::gateway {
namespace {

class FakeMailbox final : public mail::MailboxService::Service {
 public:
  grpc::Status Watch(grpc::ServerContext*,
                     grpc::ServerReaderWriter<mail::WatchResponse, mail::WatchRequest>* stream) override {
    stream->Write(mail::WatchResponse());
    mail::WatchRequest request;
    while (stream->Read(&request)) {
      absl::MutexLock lock(&mutex_);
      for (const auto& add : request.add()) {
        log_.push_back(absl::StrCat("add ", add.account().account_id(), "/", add.folder_id(), " ", add.known_modseq()));
        mail::WatchResponse response;
        mail::WatchResponse::Hint* hint = response.add_hints();
        hint->set_account_id(add.account().account_id());
        hint->set_folder_id(add.folder_id());
        hint->set_highest_modseq(newest_);
        if (newest_ > add.known_modseq() || newest_ == 0) stream->Write(response);
      }
      for (const auto& remove : request.remove()) {
        log_.push_back(absl::StrCat("remove ", remove.account_id(), "/", remove.folder_id()));
      }
      if (std::exchange(break_next_, false)) return {grpc::StatusCode::UNAVAILABLE, "gone"};
    }
    return grpc::Status::OK;
  }
  void set_newest(uint64_t modseq) {
    absl::MutexLock lock(&mutex_);
    newest_ = modseq;
  }
  // The stream ends after its next request.
  void BreakNext() {
    absl::MutexLock lock(&mutex_);
    break_next_ = true;
  }
  std::string LogEntry(size_t index) {
    absl::MutexLock lock(&mutex_);
    const auto there = [this, index]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return log_.size() > index; };
    return mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(20)) ? log_[index] : "nothing";
  }

 private:
  absl::Mutex mutex_;
  uint64_t newest_ ABSL_GUARDED_BY(mutex_) = 1;
  bool break_next_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> log_ ABSL_GUARDED_BY(mutex_);
};

class ChangeWatcherTest : public testing::Test {
 protected:
  ChangeWatcherTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&mailbox_);
    server_ = builder.BuildAndStart();
    rpc::Channels channels;
    channels.mailbox[Home()] = std::make_shared<rpc::Members>(server_->InProcessChannel({}));
    client_ = std::make_unique<MailboxClient>(channels);
    watcher_ = std::make_unique<ChangeWatcher>(*client_, loops_.at(0), absl::Milliseconds(1), absl::Milliseconds(5));
  }
  ~ChangeWatcherTest() override {
    watcher_->Stop();
    server_->Shutdown();
  }
  std::unique_ptr<ChangeWatcher::Subscription> Subscribe(
      const std::string& folder, uint64_t known, std::function<void()> wake = [] {}) {
    AccountRef account;
    account.set_account_id("a");
    return watcher_->Subscribe(account, FolderId(folder), Modseq(known), std::move(wake));
  }

  net::EventLoops loops_{1};
  FakeMailbox mailbox_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<MailboxClient> client_;
  std::unique_ptr<ChangeWatcher> watcher_;
};

TEST_F(ChangeWatcherTest, AFolderIsNamedWhileASessionHasItOpen) {
  auto one = Subscribe("f", 5);
  EXPECT_EQ(mailbox_.LogEntry(0), "add a/f 5");
  // A second session may have read an older state, so the folder is named again.
  auto two = Subscribe("f", 3);
  EXPECT_EQ(mailbox_.LogEntry(1), "add a/f 3");
  one.reset();
  two.reset();
  EXPECT_EQ(mailbox_.LogEntry(2), "remove a/f");
}

TEST_F(ChangeWatcherTest, AHintWakesTheSessionsOfItsFolder) {
  mailbox_.set_newest(7);
  absl::Notification woken;
  auto other = Subscribe("other", 7, [] { FAIL() << "this folder has not changed"; });
  auto session = Subscribe("f", 5, [&woken] { woken.Notify(); });
  ASSERT_TRUE(woken.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_TRUE(session->Changed(Modseq(5)));
  EXPECT_FALSE(session->Changed(Modseq(7)));
}

TEST_F(ChangeWatcherTest, AHintWithoutModseqHoldsUntilTheChangesAreRead) {
  mailbox_.set_newest(0);
  absl::Notification woken;
  auto session = Subscribe("f", 5, [&woken] { woken.Notify(); });
  ASSERT_TRUE(woken.WaitForNotificationWithTimeout(absl::Seconds(20)));
  EXPECT_TRUE(session->Changed(Modseq(1000)));
  session->BeginRead();
  session->FailRead();
  EXPECT_TRUE(session->Changed(Modseq(1000)));
  session->BeginRead();
  session->EndRead(Modseq(5));
  EXPECT_FALSE(session->Changed(Modseq(5)));
}

TEST_F(ChangeWatcherTest, AStreamThatBreaksIsOpenedAgainAtWhatTheSessionKnows) {
  mailbox_.BreakNext();
  auto session = Subscribe("f", 5);
  EXPECT_EQ(mailbox_.LogEntry(0), "add a/f 5");
  session->EndRead(Modseq(9));
  EXPECT_EQ(mailbox_.LogEntry(1).substr(0, 8), "add a/f ");
  mailbox_.BreakNext();
  auto more = Subscribe("g", 1);  // makes the stream break again
  std::string last;
  for (size_t i = 2; last != "add a/f 9" && i < 20; ++i) last = mailbox_.LogEntry(i);
  EXPECT_EQ(last, "add a/f 9");
}

}  // namespace
}  // namespace posthouse::gateway
