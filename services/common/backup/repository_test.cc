// The directory with backups, with files that a test makes instead of a store.
#include "services/common/backup/repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/backup/restore.h"
#include "services/common/backup/settings.h"
#include "services/common/log/log.h"
#include "services/common/time/proto_time.h"

namespace posthouse::backup {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class RepositoryTest : public testing::Test {
 protected:
  RepositoryTest() : root_(absl::StrCat(std::getenv("TEST_TMPDIR"), "/", NewId(absl::Now()))) {
    log::SetSinkForTest([](absl::string_view) {});
    fs::create_directories(root_ + "/image");
    Reopen();
  }
  ~RepositoryTest() override { log::SetSinkForTest(nullptr); }

  void Reopen() {
    repository_ = nullptr;
    auto opened = Repository::OpenToWrite(root_ + "/backups", "mailbox-a");
    ASSERT_TRUE(opened.ok()) << opened.status();
    repository_ = *std::move(opened);
  }
  // A file of the image. It keeps its time, as a hard link does.
  void File(const std::string& name, const std::string& content, bool immutable) {
    std::ofstream(root_ + "/image/" + name, std::ios::binary) << content;
    image_.files.push_back({name, content.size(), immutable});
  }
  absl::StatusOr<v1::Backup> Add(absl::Time instant) {
    v1::Backup head;
    head.set_id(NewId(instant));
    head.set_service("mailbox");
    head.set_shard("a");
    ToProto(instant, head.mutable_instant());
    copied_ = 0;
    TransferOptions options;
    options.progress = [this](uint64_t bytes) { copied_ += bytes; };
    Transfer transfer(options);
    return repository_->Add(std::move(head), image_, root_ + "/image", transfer);
  }
  size_t Objects() const {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(root_ + "/backups/mailbox-a/objects")) {
      if (entry.is_regular_file()) ++count;
    }
    return count;
  }
  absl::StatusOr<Restored> RestoreTo(const std::string& data_dir, const std::string& id) {
    Transfer transfer{TransferOptions()};
    return Restore({.directory = root_ + "/backups", .store = "mailbox-a", .id = id, .data_dir = root_ + data_dir},
                   transfer);
  }
  std::string Content(const std::string& path) const { return *ReadWhole(root_ + path); }

  const std::string root_;
  store::StoreImage image_{.files = {}, .lineage = "db-1", .incarnation = 4};
  std::unique_ptr<Repository> repository_;
  uint64_t copied_ = 0;
  const absl::Time now_ = absl::FromUnixSeconds(1795941268);  // 2026-11-29
};

TEST_F(RepositoryTest, ABackupCopiesOnlyWhatNoEarlierOneHas) {
  File("000012.blob", std::string(100000, 'b'), /*immutable=*/true);
  File("000013.log", "log", /*immutable=*/false);
  const auto first = Add(now_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->copied_bytes(), 100003u);
  image_.files.pop_back();
  File("000014.log", "another log", /*immutable=*/false);
  const auto second = Add(now_ + absl::Hours(1));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->copied_bytes(), 11u);
  EXPECT_EQ(copied_, 11u) << "an unchanging file was read again";
  EXPECT_EQ(second->size_bytes(), 100011u);
  EXPECT_EQ(second->incarnation(), 4u);
  EXPECT_EQ(Objects(), 3u);
  const auto listing = repository_->List(/*with_files=*/false);
  ASSERT_TRUE(listing.ok());
  ASSERT_THAT(listing->backups, SizeIs(2));
  EXPECT_EQ(listing->backups[0].id(), second->id());
  EXPECT_THAT(listing->backups[0].files(), IsEmpty());
}

TEST_F(RepositoryTest, AFileOfAnotherLineageIsReadAgain) {
  File("000012.blob", "of the first store", /*immutable=*/true);
  ASSERT_TRUE(Add(now_).ok());
  image_.lineage = "db-2";  // a restored store gives the number to other bytes
  const fs::file_time_type time = fs::last_write_time(root_ + "/image/000012.blob");
  image_.files.clear();
  File("000012.blob", "of the other store", /*immutable=*/true);
  fs::last_write_time(root_ + "/image/000012.blob", time);
  const auto second = Add(now_ + absl::Hours(1));
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(Objects(), 2u);
  ASSERT_TRUE(RestoreTo("/data", second->id()).ok());
  EXPECT_EQ(Content("/data/mailbox/000012.blob"), "of the other store");
}

TEST_F(RepositoryTest, RestoreFillsAnEmptyDirectoryAndRefusesAUsedOne) {
  File("CURRENT", "MANIFEST-000001\n", /*immutable=*/false);
  File("000012.blob", "body", /*immutable=*/true);
  const auto backup = Add(now_);
  ASSERT_TRUE(backup.ok());
  fs::create_directories(root_ + "/data/mailbox");
  const auto restored = RestoreTo("/data", backup->id());
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(Content("/data/mailbox/000012.blob"), "body");
  EXPECT_THAT(Content("/data/mailbox/RESTORED"), HasSubstr(backup->id()));
  EXPECT_FALSE(fs::exists(root_ + "/data/mailbox/HOLD")) << "only a queue holds messages";
  EXPECT_EQ(fs::status(root_ + "/data/mailbox/CURRENT").permissions(), fs::perms(0600));
  const auto again = RestoreTo("/data", backup->id());
  EXPECT_EQ(again.status().code(), absl::StatusCode::kFailedPrecondition) << again.status();
  EXPECT_EQ(Content("/data/mailbox/000012.blob"), "body");
}

TEST_F(RepositoryTest, ADamagedObjectIsFoundAndRestoresNothing) {
  File("000012.blob", "body", /*immutable=*/true);
  const auto backup = Add(now_);
  ASSERT_TRUE(backup.ok());
  const std::string object = repository_->ObjectPath(backup->files(0).object());
  std::ofstream(object, std::ios::binary) << "bodY";
  EXPECT_EQ(RestoreTo("/data", backup->id()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(fs::exists(root_ + "/data/mailbox"));
  EXPECT_FALSE(fs::exists(root_ + "/data/mailbox.restoring"));
  Transfer transfer{TransferOptions()};
  const auto found = repository_->Verify(*backup, transfer);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->damaged, ElementsAre(HasSubstr("000012.blob")));
  // The store still has the file: the next backup puts it back.
  ASSERT_TRUE(Add(now_ + absl::Hours(1)).ok());
  EXPECT_THAT(repository_->Verify(*backup, transfer)->damaged, IsEmpty());
  EXPECT_TRUE(RestoreTo("/data", backup->id()).ok());
}

TEST_F(RepositoryTest, AMissingObjectIsFound) {
  File("000012.blob", "body", /*immutable=*/true);
  const auto backup = Add(now_);
  fs::remove(repository_->ObjectPath(backup->files(0).object()));
  Transfer transfer{TransferOptions()};
  const auto found = repository_->Verify(*backup, transfer);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_THAT(found->damaged, SizeIs(1));
  EXPECT_FALSE(RestoreTo("/data", backup->id()).ok());
}

TEST_F(RepositoryTest, RetentionKeepsTheNewestAndTheYoungOnes) {
  File("000001.blob", "for ever", /*immutable=*/true);
  for (int day = 0; day < 6; ++day) {
    image_.files.resize(1);
    File("000002.log", absl::StrCat("log of day ", day), /*immutable=*/false);
    ASSERT_TRUE(Add(now_ + day * absl::Hours(24)).ok());
  }
  const absl::Time end = now_ + 6 * absl::Hours(24);
  EXPECT_EQ(*repository_->Prune({.keep_last = 1, .keep_for = absl::Hours(60)}, end), 4u);  // two are younger
  EXPECT_EQ(Objects(), 3u);
  EXPECT_EQ(*repository_->Prune({.keep_last = 2, .keep_for = absl::ZeroDuration()}, end), 0u);
  EXPECT_EQ(*repository_->Prune({.keep_last = 1, .keep_for = absl::ZeroDuration()}, end), 1u);
  EXPECT_EQ(Objects(), 2u);
  const auto newest = repository_->Newest();
  ASSERT_TRUE(newest.ok());
  EXPECT_TRUE(RestoreTo("/data", newest->id()).ok());
}

TEST_F(RepositoryTest, WhatACrashLeftIsRemoved) {
  const std::string folder = root_ + "/backups/mailbox-a";
  File("000001.blob", "body", /*immutable=*/true);
  ASSERT_TRUE(Add(now_).ok());
  std::ofstream(folder + "/new/0123456789abcdef") << "half";
  const std::string orphan = repository_->ObjectPath(std::string(64, 'a'));
  fs::create_directories(fs::path(orphan).parent_path());
  std::ofstream(orphan) << "of a backup that never was";
  std::ofstream(folder + "/backups/" + NewId(now_) + ".json.new") << "{";
  ASSERT_TRUE(repository_->Prune(Retention(), now_).ok());
  EXPECT_EQ(Objects(), 1u);
  EXPECT_TRUE(fs::is_empty(folder + "/new"));
  EXPECT_THAT(repository_->List(true)->backups, SizeIs(1));
}

TEST_F(RepositoryTest, AnUnreadableBackupKeepsItsObjects) {
  const std::string folder = root_ + "/backups/mailbox-a";
  File("000001.blob", "body", /*immutable=*/true);
  const auto old = Add(now_);
  ASSERT_TRUE(old.ok());
  std::string text = Content("/backups/mailbox-a/backups/" + old->id() + ".json");
  text.replace(text.find("\"format\": 1"), 11, "\"format\": 2");
  std::ofstream(folder + "/backups/" + old->id() + ".json") << text;
  image_.files.clear();
  File("000002.blob", "other", /*immutable=*/true);
  ASSERT_TRUE(Add(now_ + absl::Hours(1)).ok());
  ASSERT_TRUE(repository_->Prune({.keep_last = 1, .keep_for = absl::ZeroDuration()}, now_ + absl::Hours(2)).ok());
  EXPECT_EQ(Objects(), 2u);
  const auto listing = repository_->List(true);
  EXPECT_THAT(listing->backups, SizeIs(1));
  EXPECT_THAT(listing->unreadable, ElementsAre(HasSubstr("format 2")));
  EXPECT_EQ(RestoreTo("/data", old->id()).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RepositoryTest, NoNameOfABackupLeadsOutOfItsDirectory) {
  const std::string folder = root_ + "/backups/mailbox-a";
  File("000001.blob", "body", /*immutable=*/true);
  const auto backup = Add(now_);
  const std::string path = "/backups/mailbox-a/backups/" + backup->id() + ".json";
  std::string text = Content(path);
  text.replace(text.find("000001.blob"), 11, "../../x.blob");
  std::ofstream(root_ + path) << text;
  EXPECT_EQ(RestoreTo("/data", backup->id()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(RestoreTo("/data", "../../etc/passwd").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RepositoryTest, OneProcessWritesAtATime) {
  EXPECT_EQ(Repository::OpenToWrite(root_ + "/backups", "mailbox-a").status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Repository::Open(root_ + "/backups", "mailbox-a").ok());
  EXPECT_TRUE(Repository::OpenToWrite(root_ + "/backups", "mailbox-b").ok());
  EXPECT_THAT(*Repository::Stores(root_ + "/backups"), ElementsAre("mailbox-a", "mailbox-b"));
}

TEST_F(RepositoryTest, ATransferEndsWhenItIsToldTo) {
  File("000001.blob", std::string(3 << 20, 'x'), /*immutable=*/true);
  v1::Backup head;
  head.set_id(NewId(now_));
  TransferOptions options;
  int asked = 0;
  options.stop = [&] { return ++asked < 2 ? absl::OkStatus() : absl::CancelledError("stop"); };
  Transfer transfer(options);
  EXPECT_EQ(repository_->Add(head, image_, root_ + "/image", transfer).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Objects(), 0u);
  EXPECT_TRUE(fs::is_empty(root_ + "/backups/mailbox-a/new"));
  EXPECT_THAT(repository_->List(true)->backups, IsEmpty());
}

TEST(NamesTest, AStoreNameIsAFolder) {
  EXPECT_EQ(StoreName("queue", "0"), "queue-0");
  EXPECT_EQ(StoreName("directory", ""), "directory");
  EXPECT_EQ(StoreName("mailbox", "eu/1 b"), "mailbox-eu%2F1%20b");
  EXPECT_TRUE(IsId(NewId(absl::Now())));
  const absl::Time now = absl::FromUnixMillis(1795941268007);
  EXPECT_LT(NewId(now), NewId(now + absl::Milliseconds(1))) << "the newest has the last id";
  for (const char* bad :
       {"", "20261129T083428123Z-1a2b3c4", "20261129T083428123Z/1a2b3c4d", "2026112 T083428123Z-1a2b3c4d"}) {
    EXPECT_FALSE(IsId(bad)) << bad;
  }
}

TEST(SettingsTest, BadValuesNameTheirKey) {
  config::v1::Config config;
  config.set_data_dir("/var/lib/posthouse");
  EXPECT_TRUE(Settings::FromConfig(config).ok());
  config.mutable_backup()->set_directory("/var/lib/posthouse-backups");
  const auto settings = Settings::FromConfig(config);
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->max_bytes_per_second, uint64_t{64} << 20);
  EXPECT_EQ(settings->retention.keep_last, 3u);
  EXPECT_EQ(settings->retention.keep_for, 14 * absl::Hours(24));
  const auto error = [](config::v1::Config c) { return std::string(Settings::FromConfig(c).status().message()); };
  for (const char* inside : {"/var/lib/posthouse", "/var/lib/posthouse/", "/var/lib/posthouse/../posthouse/b"}) {
    config.mutable_backup()->set_directory(inside);
    EXPECT_THAT(error(config), HasSubstr("backup.directory: lies in data_dir")) << inside;
  }
  config.mutable_backup()->set_directory("/backups");
  config.mutable_backup()->set_keep_last(0);
  EXPECT_THAT(error(config), HasSubstr("backup.keep_last: must be 1 to 10000"));
  config.mutable_backup()->set_keep_last(1);
  config.mutable_backup()->set_max_bytes_per_second(5);
  EXPECT_THAT(error(config), HasSubstr("backup.max_bytes_per_second: must be at least 1MiB"));
  config.mutable_backup()->set_max_bytes_per_second(0);
  config.mutable_backup()->mutable_keep_for()->set_seconds(-1);
  EXPECT_THAT(error(config), HasSubstr("backup.keep_for: must be 0s to 3650d"));
}

}  // namespace
}  // namespace posthouse::backup
