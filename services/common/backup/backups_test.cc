// Backups of real stores while they are written, and stores that are restored from them.
#include "services/common/backup/backups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/async/task.h"
#include "services/common/backup/restore.h"
#include "services/common/log/log.h"
#include "services/common/status/status.h"
#include "services/common/store/open.h"
#include "services/common/store/testing/memory_store.h"
#include "services/common/testing/wait.h"
#include "services/common/time/proto_time.h"

namespace posthouse::backup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::SizeIs;

std::string BodyOf(int i) {
  return absl::StrCat("body ", i, std::string(20000 + i % 7, static_cast<char>('a' + i % 26)));
}

class BackupsTest : public testing::Test {
 protected:
  BackupsTest() : root_(absl::StrCat(std::getenv("TEST_TMPDIR"), "/", NewId(absl::Now()))) {
    log::SetSinkForTest([](absl::string_view) {});
    settings_.directory = root_ + "/backups";
    settings_.max_bytes_per_second = 0;
    store_ = OpenStore(root_ + "/data/mailbox");
  }
  ~BackupsTest() override {
    backups_ = nullptr;
    log::SetSinkForTest(nullptr);
  }

  std::unique_ptr<store::Store> OpenStore(const std::string& path) {
    config::v1::StoreSettings settings;
    settings.set_min_free_bytes(1);
    settings.set_write_buffer_bytes(256 * 1024);  // so that the load flushes and compacts
    auto opened = store::Open("mailbox", path, settings, registry_, /*accept_data_loss=*/false);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  void Make() {
    backups_ = std::make_unique<Backups>(
        settings_, std::vector<Target>{{"mailbox", "a", root_ + "/data/mailbox", store_.get()}}, registry_);
  }
  // A message: a blob, and the row that names it.
  absl::Status Put(int i) {
    const std::string name = absl::StrCat("blob", i);
    PH_RETURN_IF_ERROR(SyncWait(store_->blobs().Put("t", name, absl::Cord(absl::string_view(BodyOf(i))))));
    store::CommitRequest request;
    request.partition = {"t", "mb"};
    request.mutations = {{absl::StrCat("m/", absl::Dec(i, absl::kZeroPad8)), name}};
    request.needs_blobs = {{"t", name}};
    return SyncWait(store_->Commit(request));
  }
  static bool Has(store::Store& store, int i) {
    store::ReadRequest request;
    request.partition = {"t", "mb"};
    request.keys = {absl::StrCat("m/", absl::Dec(i, absl::kZeroPad8))};
    const auto row = SyncWait(store.Read(request));
    if (!row.ok() || !row->values[0].has_value()) return false;
    const auto body = SyncWait(store.blobs().Get("t", *row->values[0], 0, 1 << 20));
    EXPECT_TRUE(body.ok() && *body == BodyOf(i)) << "message " << i << " without its body";
    return true;
  }
  v1::StoreBackups Listed() {
    const auto list = backups_->List();
    EXPECT_TRUE(list.ok()) << list.status();
    return list.ok() ? list->stores(0) : v1::StoreBackups();
  }
  v1::StoreBackups AfterJob() {
    EXPECT_TRUE(Eventually([this] { return Listed().job().has_ended(); }));
    return Listed();
  }
  v1::StoreBackups RunOne() {
    EXPECT_TRUE(Eventually([this] { return backups_->Run("").ok(); }));  // the job before may be at its last line
    return AfterJob();
  }
  absl::StatusOr<Restored> RestoreTo(const std::string& data_dir, const std::string& id) {
    Transfer transfer{TransferOptions()};
    return Restore({.directory = settings_.directory, .store = "mailbox-a", .id = id, .data_dir = root_ + data_dir},
                   transfer);
  }
  double Metric(const std::string& name) {
    const std::string text = registry_.Serialize();
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::atof(text.c_str() + at + name.size() + 2);
  }

  const std::string root_;
  metrics::Registry registry_;
  Settings settings_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Backups> backups_;
};

TEST_F(BackupsTest, ABackupUnderLoadHasAllThatWasAcknowledgedBeforeItsInstant) {
  Make();
  std::atomic<int> acknowledged{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      ASSERT_TRUE(Put(i).ok());
      acknowledged = i + 1;
    }
  });
  std::vector<int> before;
  std::vector<std::string> ids;
  for (int round = 1; round <= 3; ++round) {
    ASSERT_TRUE(Eventually([&] { return acknowledged >= round * 60; }));
    before.push_back(acknowledged);
    const v1::StoreBackups listed = RunOne();
    EXPECT_EQ(listed.job().state(), v1::Job::STATE_DONE) << listed.job().error();
    ids.push_back(listed.backups(0).id());
    EXPECT_EQ(listed.backups(0).id(), listed.job().id());
  }
  stop = true;
  writer.join();
  EXPECT_FALSE(fs::exists(root_ + "/data/mailbox/IMAGE"));
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string place = absl::StrCat("/restored", i);
    ASSERT_TRUE(RestoreTo(place, ids[i]).ok());
    const auto restored = OpenStore(root_ + place + "/mailbox");
    ASSERT_NE(restored, nullptr);
    EXPECT_EQ(restored->Incarnation(), store_->Incarnation() + 1) << "numbers would be given out again";
    int end = 0;
    while (Has(*restored, end)) ++end;
    EXPECT_GE(end, before[i]);
    for (int later = end; later < acknowledged; ++later) EXPECT_FALSE(Has(*restored, later)) << "not of one instant";
  }
}

TEST_F(BackupsTest, BodiesAreCopiedOnce) {
  Make();
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(Put(i).ok());
  const v1::Backup first = RunOne().backups(0);
  EXPECT_GT(first.copied_bytes(), 0u);
  EXPECT_EQ(first.copied_bytes(), first.size_bytes());
  ASSERT_TRUE(Put(200).ok());
  const v1::StoreBackups listed = RunOne();
  ASSERT_THAT(listed.backups(), SizeIs(2));
  EXPECT_LT(listed.backups(0).copied_bytes(), first.copied_bytes() / 4);
  EXPECT_EQ(Metric("posthouse_backup_runs_total{result=\"ok\",store=\"mailbox-a\"}"), 2);
  EXPECT_NEAR(Metric("posthouse_backup_last_success_timestamp_seconds{store=\"mailbox-a\"}"),
              absl::ToDoubleSeconds(FromProto(listed.backups(0).instant()) - absl::UnixEpoch()), 0.01);
  // A process that starts knows of it.
  Make();
  EXPECT_GT(Metric("posthouse_backup_last_success_timestamp_seconds{store=\"mailbox-a\"}"), 0);
}

TEST_F(BackupsTest, ARestoredStoreIsBackedUpToTheSameDirectory) {
  Make();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(Put(i).ok());
  const std::string id = RunOne().backups(0).id();
  backups_ = nullptr;
  store_ = nullptr;
  fs::remove_all(root_ + "/data/mailbox");
  ASSERT_TRUE(RestoreTo("/data", id).ok());
  store_ = OpenStore(root_ + "/data/mailbox");
  ASSERT_NE(store_, nullptr);
  EXPECT_FALSE(fs::exists(root_ + "/data/mailbox/RESTORED"));
  Make();
  for (int i = 50; i < 100; ++i) ASSERT_TRUE(Put(i).ok());
  const v1::StoreBackups listed = RunOne();
  ASSERT_THAT(listed.backups(), SizeIs(2)) << listed.job().error();
  EXPECT_EQ(listed.backups(0).incarnation(), listed.backups(1).incarnation() + 1);
  ASSERT_TRUE(RestoreTo("/again", listed.backups(0).id()).ok());
  const auto again = OpenStore(root_ + "/again/mailbox");
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(Has(*again, i)) << i;
}

TEST_F(BackupsTest, AVerificationFindsADamagedObject) {
  Make();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Put(i).ok());
  RunOne();
  ASSERT_TRUE(Eventually([this] { return backups_->Verify("").ok(); }));
  EXPECT_EQ(AfterJob().job().state(), v1::Job::STATE_DONE);
  std::string damaged;
  for (const auto& entry : fs::recursive_directory_iterator(settings_.directory + "/mailbox-a/objects")) {
    if (entry.is_regular_file() && entry.file_size() > 1000) damaged = entry.path();
  }
  std::fstream(damaged, std::ios::in | std::ios::out | std::ios::binary) << "rot";
  ASSERT_TRUE(Eventually([this] { return backups_->Verify("").ok(); }));
  const v1::Job job = AfterJob().job();
  EXPECT_EQ(job.state(), v1::Job::STATE_FAILED);
  EXPECT_THAT(job.error(), HasSubstr("cannot be restored"));
  EXPECT_EQ(Metric("posthouse_backup_damaged_objects_total{store=\"mailbox-a\"}"), 1);
  EXPECT_EQ(backups_->Verify("20200101T000000000Z-00000000").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BackupsTest, AJobEndsWithTheProcessAndLeavesNoImage) {
  settings_.max_bytes_per_second = 1 << 20;
  Make();
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(Put(i).ok());  // 8 MB: it would take seconds
  ASSERT_TRUE(backups_->Run("").ok());
  ASSERT_TRUE(Eventually([this] { return Listed().job().done_bytes() > 0; }));
  EXPECT_TRUE(fs::exists(root_ + "/data/mailbox/IMAGE"));
  EXPECT_EQ(backups_->Run("").status().code(), absl::StatusCode::kFailedPrecondition);
  backups_->Stop();
  const v1::StoreBackups listed = Listed();
  EXPECT_EQ(listed.job().state(), v1::Job::STATE_FAILED);
  EXPECT_THAT(listed.backups(), SizeIs(0));
  EXPECT_FALSE(fs::exists(root_ + "/data/mailbox/IMAGE"));
  EXPECT_EQ(backups_->Run("").status().code(), absl::StatusCode::kUnavailable);
  // What a killed process leaves goes at the next start.
  fs::create_directories(root_ + "/data/mailbox/IMAGE");
  Make();
  EXPECT_FALSE(fs::exists(root_ + "/data/mailbox/IMAGE"));
}

TEST_F(BackupsTest, AFailureIsCountedAndSaid) {
  std::ofstream(root_ + "/file") << "no directory";
  settings_.directory = root_ + "/file";
  Make();
  ASSERT_TRUE(backups_->Run("").ok());
  EXPECT_TRUE(
      Eventually([this] { return Metric("posthouse_backup_runs_total{result=\"failed\",store=\"mailbox-a\"}") == 1; }));
  EXPECT_FALSE(fs::exists(root_ + "/data/mailbox/IMAGE"));
  EXPECT_EQ(Metric("posthouse_backup_last_success_timestamp_seconds{store=\"mailbox-a\"}"), 0);
}

TEST_F(BackupsTest, WithoutADirectoryThereAreNoBackups) {
  settings_.directory = "";
  Make();
  EXPECT_THAT(std::string(backups_->Run("").status().message()), HasSubstr("backup.directory is not set"));
  EXPECT_EQ(backups_->List().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(registry_.Serialize().find("posthouse_backup_"), std::string::npos);
}

TEST_F(BackupsTest, TheQueueIsFirstAndTheDirectoryLast) {
  store::MemoryStore none;
  Backups backups(settings_,
                  {{"directory", "", root_ + "/d", &none},
                   {"mailbox", "", root_ + "/m", &none},
                   {"queue", "0", root_ + "/q", &none}},
                  registry_);
  const auto run = backups.Run("");
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_THAT(run->stores(), testing::ElementsAre("queue-0", "mailbox", "directory"));
  EXPECT_TRUE(Eventually([&] { return backups.List()->stores(2).job().has_ended(); }));
  EXPECT_THAT(backups.List()->stores(0).job().error(), HasSubstr("no files to back up"));
}

}  // namespace
}  // namespace posthouse::backup
