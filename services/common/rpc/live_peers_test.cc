// What a reload of `peers` changes in a process that runs, and what it leaves alone.
#include "services/common/rpc/live_peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "posthouse/config/v1/config.pb.h"
#include "services/common/ids/ids.h"
#include "services/common/rpc/testing/named_mailbox.h"

namespace posthouse::rpc {
namespace {

using ::testing::HasSubstr;

class LivePeersTest : public ::testing::Test {
 protected:
  LivePeersTest() {
    config_.mutable_rpc()->set_token_file(TokenFile());
    config_.mutable_peers()->set_directory("127.0.0.1:1");
    config_.mutable_peers()->set_routing("127.0.0.1:1");
  }
  static void Add(google::protobuf::RepeatedPtrField<config::v1::Shard>* shards, const std::string& name,
                  const std::string& target) {
    config::v1::Shard* const shard = shards->Add();
    shard->set_name(name);
    shard->set_target(target);
  }
  void AddMailbox(const std::string& name, const std::string& target) {
    Add(config_.mutable_peers()->mutable_mailbox(), name, target);
  }
  void AddQueue(const std::string& name, const std::string& target) {
    Add(config_.mutable_peers()->mutable_queue_shards(), name, target);
  }
  std::unique_ptr<LivePeers> Start() {
    return std::make_unique<LivePeers>(*DialPeers(config_, "gateway"), config_, "gateway");
  }
  static std::shared_ptr<Members> Mailbox(const LivePeers& peers, const std::string& name) {
    return peers.Get()->MailboxOf(Home(name));
  }

  config::v1::Config config_;
};

TEST_F(LivePeersTest, AShardThatIsAddedIsFoundAndTheOthersKeepTheirChannels) {
  const NamedMailbox m0(config_, "m0"), m1(config_, "m1");
  AddMailbox("m0", m0.target());
  const auto peers = Start();
  const auto before = peers->Get();
  const auto first = Mailbox(*peers, "m0");
  ASSERT_EQ(Mailbox(*peers, "m1"), nullptr);
  AddMailbox("m1", m1.target());
  ASSERT_TRUE(peers->Reload(config_).ok());
  EXPECT_EQ(Mailbox(*peers, "m0"), first);
  EXPECT_NE(Mailbox(*peers, "m1"), nullptr);
  EXPECT_EQ(peers->Get()->directory, before->directory);
  EXPECT_EQ(before->mailbox.size(), 1u);  // of a call in progress
}

TEST_F(LivePeersTest, AShardThatIsGoneIsNotFoundAndANewTargetIsDialled) {
  const NamedMailbox m0(config_, "m0"), elsewhere(config_, "m0");
  AddMailbox("m0", m0.target());
  AddMailbox("m1", "127.0.0.1:1");
  const auto peers = Start();
  const auto first = Mailbox(*peers, "m0");
  config_.mutable_peers()->mutable_mailbox()->RemoveLast();
  config_.mutable_peers()->mutable_mailbox(0)->set_target(elsewhere.target());
  ASSERT_TRUE(peers->Reload(config_).ok());
  EXPECT_EQ(Mailbox(*peers, "m1"), nullptr);
  EXPECT_NE(Mailbox(*peers, "m0"), first);
  EXPECT_NE(Mailbox(*peers, "m0"), nullptr);
}

TEST_F(LivePeersTest, QueuesComeAndGo) {
  AddQueue("q0", "127.0.0.1:11");
  AddQueue("q1", "127.0.0.1:12");
  const auto peers = Start();
  const auto before = peers->Get();
  config_.mutable_peers()->mutable_queue_shards()->DeleteSubrange(0, 1);
  AddQueue("q2", "127.0.0.1:13");
  ASSERT_TRUE(peers->Reload(config_).ok());
  const auto after = peers->Get();
  ASSERT_EQ(after->queue.size(), 2u);
  EXPECT_EQ(after->queue[0], before->queue[1]);
  EXPECT_NE(after->queue[1], before->queue[0]);
  // From targets without names to shards with names: other calls, so other channels.
  config_.mutable_peers()->clear_queue_shards();
  config_.mutable_peers()->add_queue("127.0.0.1:12");
  ASSERT_TRUE(peers->Reload(config_).ok());
  ASSERT_EQ(peers->Get()->queue.size(), 1u);
  EXPECT_NE(peers->Get()->queue[0], after->queue[0]);
}

// As at the start: a shard whose target leads to another store would take its mail.
TEST_F(LivePeersTest, ATargetOfAnotherStoreIsRefusedAndAllStays) {
  const NamedMailbox m0(config_, "m0"), m1(config_, "m1");
  AddMailbox("m0", m0.target());
  const auto peers = Start();
  const auto before = peers->Get();
  AddMailbox("m2", m1.target());
  const absl::Status status = peers->Reload(config_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("peers.mailbox \"m2\""));
  EXPECT_EQ(peers->Get(), before);
  config_.mutable_peers()->mutable_mailbox(1)->set_target("no target");
  EXPECT_FALSE(peers->Reload(config_).ok());
  EXPECT_EQ(peers->Get(), before);
  // The next file is compared with what is in use, not with what was refused.
  config_.mutable_peers()->mutable_mailbox(1)->set_name("m1");
  config_.mutable_peers()->mutable_mailbox(1)->set_target(m1.target());
  EXPECT_TRUE(peers->Reload(config_).ok());
  EXPECT_NE(Mailbox(*peers, "m1"), nullptr);
}

TEST_F(LivePeersTest, WhatNeedsARestartAndWhatIsTheSameChangesNothing) {
  AddMailbox("m0", "127.0.0.1:1");
  const auto peers = Start();
  const auto before = peers->Get();
  config_.mutable_peers()->set_directory("127.0.0.1:2");
  config_.mutable_peers()->set_routing("127.0.0.1:2");
  config_.mutable_gateway()->set_max_line_bytes(10000);
  ASSERT_TRUE(peers->Reload(config_).ok());
  EXPECT_EQ(peers->Get(), before);
}

TEST_F(LivePeersTest, ThePartsOfAProcessKeepEachOther) {
  config_.mutable_rpc()->set_in_process_only(true);
  LivePeers peers(Channels(), config_, "gateway");
  const auto before = peers.Get();
  AddMailbox("m0", "127.0.0.1:1");
  EXPECT_TRUE(peers.Reload(config_).ok());
  EXPECT_EQ(peers.Get(), before);
}

}  // namespace
}  // namespace posthouse::rpc
