// MailboxFixture: a mailbox without gRPC over a store that survives "crashes", for tests.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "services/common/ids/ids.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/testing/memory_store.h"
#include "services/mailbox/folder/mailbox_deps.h"
#include "services/mailbox/folder/mailboxes.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/testing/fake_registry.h"

namespace posthouse::mailbox {

class MailboxFixture {
 public:
  using OpenStore = std::function<std::unique_ptr<store::Store>()>;

  MailboxFixture() : disk_(std::make_shared<store::MemoryDisk>()) {
    open_store_ = [this] {
      auto store = std::make_unique<store::MemoryStore>(disk_);
      store->SetIncarnation(incarnation_);
      return store;
    };
    Reopen();
  }
  explicit MailboxFixture(OpenStore open_store)
      : disk_(std::make_shared<store::MemoryDisk>()), open_store_(std::move(open_store)) {
    Reopen();
  }

  // What a new process finds: only the disk is left.
  void Reopen() {
    mailboxes_.reset();
    deps_.reset();
    store_.reset();
    store_ = open_store_();
    deps_ = std::make_unique<MailboxDeps>(MailboxDeps{*store_, metrics_, hints_, pins_, &registry(), settings_});
    deps_->clock = [this] { return now_; };
    mailboxes_ = std::make_unique<Mailboxes>(*deps_);
  }

  // As after an accepted loss or a restore.
  void ReopenAs(uint64_t incarnation) {
    incarnation_ = incarnation;
    Reopen();
  }

  Settings& settings() { return settings_; }
  MailboxDeps& deps() { return *deps_; }
  Mailboxes& mailboxes() { return *mailboxes_; }
  store::MemoryDisk& disk() { return *disk_; }
  store::Store& store() { return *store_; }
  Metrics& metrics() { return metrics_; }
  BlobPins& pins() { return pins_; }
  ChangeHints& hints() { return hints_; }
  FakeRegistry& registry() { return directory_; }
  void Advance(absl::Duration d) { now_ += d; }
  absl::Time now() const { return now_; }

  std::shared_ptr<Account> OpenAccount(const std::string& id = "acc1", const std::string& tenant = "t1") {
    auto account = SyncWait(mailboxes_->OpenAccount(TenantId(tenant), AccountId(id)));
    EXPECT_TRUE(account.ok()) << account.status();
    return account.ok() ? *account : nullptr;
  }
  std::shared_ptr<Folder> OpenFolder(const std::string& name, const std::string& account_id = "acc1") {
    const std::shared_ptr<Account> account = OpenAccount(account_id);
    const absl::StatusOr<FolderInfo> info = account->FindByName(name);
    EXPECT_TRUE(info.ok()) << name << ": " << info.status();
    if (!info.ok()) return nullptr;
    auto folder = SyncWait(mailboxes_->OpenFolder(account, info->folder_id));
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? *folder : nullptr;
  }

  // A message whose body is written.
  NewMessage MakeMessage(const std::string& body, uint32_t flags = 0, std::vector<std::string> keywords = {}) {
    NewMessage m;
    m.flags = flags;
    m.keywords = std::move(keywords);
    m.internal_date = absl::ToUnixSeconds(now_);
    m.size_bytes = body.size();
    m.blob = ObjectId::New(absl::ToUnixMillis(now_));
    EXPECT_TRUE(SyncWait(store_->blobs().Put("t1", m.blob.Hex(), absl::Cord(body))).ok());
    return m;
  }
  uint32_t Add(Folder& folder, const std::string& body = "Subject: x\r\n\r\nbody\r\n", uint32_t flags = 0,
               std::vector<std::string> keywords = {}) {
    auto result = SyncWait(folder.Append(MakeMessage(body, flags, std::move(keywords))));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->uid.value() : 0;
  }

 private:
  absl::Time now_ = absl::FromUnixSeconds(1700000000);
  Settings settings_ = [] {
    Settings s;
    s.default_folders = {{"Sent", "\\Sent"}, {"Trash", "\\Trash"}};
    return s;
  }();
  FakeRegistry directory_;
  metrics::Registry registry_;
  Metrics metrics_{registry_};
  ChangeHints hints_;
  BlobPins pins_;
  const std::shared_ptr<store::MemoryDisk> disk_;
  uint64_t incarnation_ = 0;
  OpenStore open_store_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<MailboxDeps> deps_;
  std::unique_ptr<Mailboxes> mailboxes_;
};

}  // namespace posthouse::mailbox
