// The service as its peers see it: a real gRPC server over the memory store.
#include <atomic>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/text_format.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "posthouse/config/v1/config.pb.h"
#include "posthouse/mailbox/v1/mailbox.grpc.pb.h"
#include "posthouse/mailbox/v1/store.pb.h"
#include "services/common/async/task.h"
#include "services/common/runtime/testing/test_runtime.h"
#include "services/common/store/testing/memory_store.h"
#include "services/common/store/testing/store_with_hole.h"
#include "services/mailbox/app.h"
#include "services/mailbox/rows/head.h"
#include "services/mailbox/rows/key_schema.h"
#include "services/mailbox/rows/row_codec.h"
#include "services/mailbox/testing/fake_registry.h"

namespace posthouse::mailbox {
namespace {

constexpr char kMessage[] =
    "From: Ann <ann@a.example>\r\nTo: Bob <bob@b.example>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n"
    "Date: Tue, 1 Jul 2025 10:00:00 +0200\r\nMessage-ID: <m1@a.example>\r\nX-Odd: yes\r\n"
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    "SGVsbG8gd29ybGQ=\r\n--b\r\nContent-Type: text/html\r\n\r\n<b>second part</b>\r\n--b--\r\n";

class RpcTest : public testing::Test {
 protected:
  RpcTest() : disk_(std::make_shared<store::MemoryDisk>()) {
    config_.mutable_rpc()->set_port(0);
    Start();
  }
  ~RpcTest() override { Stop(); }

  void Start() {
    runtime_ = runtime::NewTestRuntime(config_);
    auto registry = std::make_unique<FakeRegistry>();
    registry_ = registry.get();
    auto app = App::CreateOn(*runtime_, std::make_unique<store::MemoryStore>(disk_), std::move(registry));
    ASSERT_TRUE(app.ok()) << app.status();
    app_ = *std::move(app);
    stub_ = v1::MailboxService::NewStub(app_->rpc().InProcessChannel());
  }
  void Stop() {
    stub_.reset();
    if (app_ != nullptr) app_->Drain(absl::Seconds(5));
    app_.reset();
    runtime_.reset();
  }

  template <typename Request>
  Request For() {
    Request r;
    *r.mutable_account() = Account();
    return r;
  }
  common::v1::AccountRef Account() const {
    common::v1::AccountRef ref;
    ref.set_tenant("t1");
    ref.set_account_id("acc1");
    ref.set_quota_bytes(quota_bytes_);
    return ref;
  }
  std::string FolderId(const std::string& name) {
    v1::GetFolderRequest r = For<v1::GetFolderRequest>();
    r.set_name(name);
    v1::GetFolderResponse response;
    EXPECT_TRUE(Call(&v1::MailboxService::Stub::GetFolder, r, &response).ok()) << name;
    return response.folder().folder_id();
  }
  template <typename Method, typename Request, typename Response>
  grpc::Status Call(Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    return (stub_.get()->*method)(&context, request, response);
  }

  grpc::Status SendAppend(const std::vector<v1::AppendRequest>& parts, v1::AppendResponse* response) {
    grpc::ClientContext context;
    const auto writer = stub_->Append(&context, response);
    for (const auto& part : parts) writer->Write(part);
    writer->WritesDone();
    return writer->Finish();
  }
  v1::AppendRequest AppendHeader(const std::string& folder_id, const std::string& data, bool commit) {
    v1::AppendRequest r;
    *r.mutable_header()->mutable_account() = Account();
    r.mutable_header()->set_folder_id(folder_id);
    r.mutable_header()->set_data(data);
    r.mutable_header()->set_commit(commit);
    return r;
  }
  uint32_t Append(const std::string& data, uint32_t flags = 0, const std::string& folder = "INBOX") {
    v1::AppendRequest r = AppendHeader(FolderId(folder), data, true);
    r.mutable_header()->set_flags(flags);
    v1::AppendResponse response;
    const grpc::Status status = SendAppend({r}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.uid();
  }

  v1::DeliverRequest DeliverHeader(const std::vector<std::string>& ids, const std::string& data, bool commit) {
    v1::DeliverRequest r;
    for (const std::string& id : ids) {
      v1::DeliveryTarget* target = r.mutable_header()->add_targets();
      target->set_delivery_id(id);
      *target->mutable_account() = Account();
      target->mutable_account()->set_account_id(absl::StrCat("acc", id));
      target->set_detail("detail");
    }
    r.mutable_header()->set_queue_id("q1");
    r.mutable_header()->set_data(data);
    r.mutable_header()->set_commit(commit);
    return r;
  }
  grpc::Status SendDeliver(const std::vector<v1::DeliverRequest>& parts, v1::DeliverResponse* response) {
    grpc::ClientContext context;
    const auto writer = stub_->Deliver(&context, response);
    for (const auto& part : parts) writer->Write(part);
    writer->WritesDone();
    return writer->Finish();
  }

  // Rows as appends would have made them, in one change: UIDs 1, 3, 5, ... with as
  // many keyword bits as a folder has.
  void FillFolder(const std::string& folder_id, uint32_t messages) {
    store::MemoryStore store(disk_);
    const store::Partition partition = FolderPartition(TenantId("t1"), posthouse::FolderId(folder_id));
    const store::ReadResult read = *SyncWait(store.Read({partition, {HeadKey()}}));
    Head head = *Head::Decode(*read.values[0]);
    head.highest_modseq = Modseq(2);
    head.uid_next = Uid(2 * messages + 1);
    store::CommitRequest commit{partition, {}, {}};
    v1::ChangeRow log;
    v1::MessageRow row;
    row.set_modseq(2);
    row.set_keywords(std::string(64, '\xff'));
    row.set_blob(std::string(16, 'b'));
    row.set_size_bytes(1);
    for (uint32_t i = 0; i < messages; ++i) {
      head.Count(0, 1, +1);
      commit.mutations.push_back({MessageKey(Uid(2 * i + 1)), EncodeRow(row)});
      if (commit.mutations.size() < 900) continue;
      ASSERT_TRUE(SyncWait(store.Commit(std::exchange(commit, {partition, {}, {}}))).ok());
    }
    commit.mutations.push_back({ChangeKey(Modseq(2)), EncodeRow(log)});
    commit.mutations.push_back({HeadKey(), head.Encode()});
    ASSERT_TRUE(SyncWait(store.Commit(std::move(commit))).ok());
  }

  struct Fetched {
    v1::MessageRows rows;
    std::map<std::pair<uint32_t, uint32_t>, std::string> sections;
    std::map<std::pair<uint32_t, uint32_t>, uint64_t> totals;
    std::vector<std::pair<uint32_t, uint32_t>> nil;
    std::vector<std::pair<uint32_t, uint32_t>> vanished;
    int chunks = 0;
    grpc::Status status;
  };
  v1::FetchRequest FetchOf(const std::string& folder = "INBOX") {
    v1::FetchRequest r = For<v1::FetchRequest>();
    r.set_folder_id(FolderId(folder));
    auto* range = r.add_uids();
    range->set_first(1);
    range->set_last(UINT32_MAX);
    return r;
  }
  Fetched Fetch(const v1::FetchRequest& request) {
    Fetched out;
    grpc::ClientContext context;
    const auto reader = stub_->Fetch(&context, request);
    v1::FetchResponse chunk;
    while (reader->Read(&chunk)) {
      ++out.chunks;
      out.rows.MergeFrom(chunk.rows());
      for (const auto& piece : chunk.pieces()) {
        const auto key = std::make_pair(piece.uid(), piece.section());
        if (piece.nil()) out.nil.push_back(key);
        if (!out.sections.contains(key)) out.totals[key] = piece.total_bytes();
        out.sections[key] += piece.data();
      }
      for (const auto& range : chunk.vanished()) out.vanished.emplace_back(range.first(), range.last());
    }
    out.status = reader->Finish();
    EXPECT_TRUE(out.status.ok()) << out.status.error_message();
    return out;
  }
  // One section of message 1.
  std::string Section(const v1::Section& section) {
    v1::FetchRequest r = FetchOf();
    *r.add_sections() = section;
    const Fetched f = Fetch(r);
    if (!f.nil.empty()) return "NIL";
    const auto it = f.sections.find({1, 0});
    if (it == f.sections.end()) return "none";
    EXPECT_EQ(f.totals.at({1, 0}), it->second.size());
    return it->second;
  }

  config::v1::Config config_;
  uint64_t quota_bytes_ = 0;
  std::shared_ptr<store::MemoryDisk> disk_;
  FakeRegistry* registry_ = nullptr;  // the app's
  std::unique_ptr<runtime::Runtime> runtime_;
  std::unique_ptr<App> app_;
  std::unique_ptr<v1::MailboxService::Stub> stub_;
};

v1::Section SectionOf(std::vector<uint32_t> part, v1::Section::Kind kind, std::vector<std::string> fields = {}) {
  v1::Section s;
  for (const uint32_t p : part) s.add_part(p);
  s.set_kind(kind);
  for (const auto& f : fields) s.add_fields(f);
  return s;
}

TEST_F(RpcTest, ANewAccountHasInboxAndDefaultFolders) {
  v1::ListFoldersRequest r = For<v1::ListFoldersRequest>();
  r.set_with_state(true);
  v1::ListFoldersResponse response;
  ASSERT_TRUE(Call(&v1::MailboxService::Stub::ListFolders, r, &response).ok());
  std::vector<std::string> names;
  for (const auto& f : response.folders()) {
    names.push_back(absl::StrCat(f.name(), f.special_use(), f.subscribed() ? "+" : ""));
    EXPECT_GT(f.state().uid_validity(), 0u);
    EXPECT_EQ(f.state().uid_next(), 1u);
  }
  EXPECT_EQ(absl::StrJoin(names, " "),
            "Archive\\Archive+ Drafts\\Drafts+ INBOX+ Junk\\Junk+ Sent\\Sent+ Trash\\Trash+");
}

TEST_F(RpcTest, AppendInOneWriteOrMany) {
  EXPECT_EQ(Append(kMessage, v1::FLAG_SEEN), 1u);
  std::vector<v1::AppendRequest> parts = {AppendHeader(FolderId("INBOX"), "", false)};
  const std::string message = kMessage;
  for (size_t i = 0; i < message.size(); i += 50) parts.emplace_back().set_data(message.substr(i, 50));
  parts.emplace_back().mutable_commit()->set_size_bytes(message.size());
  v1::AppendResponse response;
  ASSERT_TRUE(SendAppend(parts, &response).ok());
  EXPECT_EQ(response.uid(), 2u);
  EXPECT_EQ(response.state().exists(), 2u);
  v1::FetchRequest r = FetchOf();
  *r.add_sections() = SectionOf({}, v1::Section::KIND_UNSPECIFIED);
  const Fetched f = Fetch(r);
  EXPECT_EQ(f.sections.at({1, 0}), message);
  EXPECT_EQ(f.sections.at({2, 0}), message);
}

TEST_F(RpcTest, AppendWithoutCommitStoresNothing) {
  v1::AppendResponse response;
  EXPECT_FALSE(SendAppend({AppendHeader(FolderId("INBOX"), kMessage, false)}, &response).ok());
  v1::AppendRequest wrong_size;
  wrong_size.mutable_commit()->set_size_bytes(3);
  EXPECT_EQ(SendAppend({AppendHeader(FolderId("INBOX"), kMessage, false), wrong_size}, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(SendAppend({AppendHeader("00112233445566778899aabbccddeeff", kMessage, true)}, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Fetch(FetchOf()).rows.uid_size(), 0);
}

TEST_F(RpcTest, AppendIsIdempotentByOperationId) {
  v1::AppendRequest r = AppendHeader(FolderId("INBOX"), kMessage, true);
  r.mutable_header()->set_operation_id("op1");
  v1::AppendResponse first, again;
  ASSERT_TRUE(SendAppend({r}, &first).ok());
  Stop();
  Start();
  ASSERT_TRUE(SendAppend({r}, &again).ok());
  EXPECT_EQ(first.uid(), again.uid());
  EXPECT_EQ(first.uid_validity(), again.uid_validity());
  EXPECT_EQ(again.state().exists(), 1u);
}

TEST_F(RpcTest, AnAppendIsAskedForByItsOperationId) {
  v1::AppendRequest ask = AppendHeader(FolderId("INBOX"), "", false);
  ask.mutable_header()->set_operation_id("op");
  ask.mutable_header()->set_ask(true);
  v1::AppendResponse response;
  ASSERT_TRUE(SendAppend({ask}, &response).ok());
  EXPECT_EQ(response.uid(), 0u);
  v1::AppendRequest r = AppendHeader(FolderId("INBOX"), kMessage, true);
  r.mutable_header()->set_operation_id("op");
  ASSERT_TRUE(SendAppend({r}, &response).ok());
  const uint32_t uid = response.uid();
  ASSERT_TRUE(SendAppend({ask}, &response).ok());
  EXPECT_EQ(response.uid(), uid);
  EXPECT_NE(response.uid_validity(), 0u);
}

TEST_F(RpcTest, LargeMessagesStreamThrough) {
  std::string message = "Subject: big\r\nX-Odd: 1\r\n\r\n";
  while (message.size() < 3 << 20) absl::StrAppend(&message, "line ", message.size(), " of a long body\r\n");
  std::vector<v1::AppendRequest> parts = {AppendHeader(FolderId("INBOX"), "", false)};
  for (size_t i = 0; i < message.size(); i += 200000) parts.emplace_back().set_data(message.substr(i, 200000));
  parts.emplace_back().mutable_commit()->set_size_bytes(message.size());
  v1::AppendResponse response;
  ASSERT_TRUE(SendAppend(parts, &response).ok());
  v1::FetchRequest r = FetchOf();
  *r.add_sections() = SectionOf({}, v1::Section::KIND_UNSPECIFIED);
  *r.add_sections() = SectionOf({}, v1::Section::KIND_HEADER);
  v1::Section* partial = r.add_sections();
  partial->set_partial(true);
  partial->set_offset(1000000);
  partial->set_length(10);
  const Fetched f = Fetch(r);
  EXPECT_EQ(f.sections.at({1, 0}), message);
  EXPECT_EQ(f.totals.at({1, 0}), message.size());
  EXPECT_EQ(f.sections.at({1, 1}), "Subject: big\r\nX-Odd: 1\r\n\r\n");
  EXPECT_EQ(f.sections.at({1, 2}), message.substr(1000000, 10));
  EXPECT_GT(f.chunks, 3);
}

TEST_F(RpcTest, DeliverStoresOnceForEveryTarget) {
  v1::DeliverResponse first, again;
  ASSERT_TRUE(SendDeliver({DeliverHeader({"1", "2"}, kMessage, true)}, &first).ok());
  ASSERT_EQ(first.outcomes_size(), 2);
  for (const auto& outcome : first.outcomes()) {
    EXPECT_EQ(outcome.kind(), v1::DeliveryOutcome::KIND_STORED);
    EXPECT_EQ(outcome.uid(), 1u);
    EXPECT_FALSE(outcome.duplicate());
  }
  Stop();
  Start();
  // Repeated with one more, as a stream.
  v1::DeliverRequest data, commit;
  data.set_data(kMessage);
  commit.mutable_commit();
  ASSERT_TRUE(SendDeliver({DeliverHeader({"1", "2", "3"}, "", false), data, commit}, &again).ok());
  EXPECT_TRUE(again.outcomes(0).duplicate());
  EXPECT_EQ(again.outcomes(0).folder_id(), first.outcomes(0).folder_id());
  EXPECT_TRUE(again.outcomes(1).duplicate());
  EXPECT_FALSE(again.outcomes(2).duplicate());
  v1::FetchRequest r = FetchOf();
  *r.add_sections() = SectionOf({}, v1::Section::KIND_UNSPECIFIED);
  EXPECT_EQ(Fetch(r).sections.at({1, 0}), kMessage);
}

TEST_F(RpcTest, DeliveryOutcomesTellWhatToDo) {
  quota_bytes_ = sizeof(kMessage) + 10;
  v1::DeliverResponse response;
  ASSERT_TRUE(SendDeliver({DeliverHeader({"1"}, kMessage, true)}, &response).ok());
  EXPECT_EQ(response.outcomes(0).kind(), v1::DeliveryOutcome::KIND_STORED);
  v1::DeliverRequest second = DeliverHeader({"1"}, kMessage, true);
  second.mutable_header()->mutable_targets(0)->set_delivery_id("other");
  response.Clear();
  ASSERT_TRUE(SendDeliver({second}, &response).ok());
  EXPECT_EQ(response.outcomes(0).kind(), v1::DeliveryOutcome::KIND_OVER_QUOTA);
  // It can never fit: trying again for days would help nobody.
  quota_bytes_ = sizeof(kMessage) - 2;
  second = DeliverHeader({"1"}, kMessage, true);
  second.mutable_header()->mutable_targets(0)->set_delivery_id("other");
  response.Clear();
  ASSERT_TRUE(SendDeliver({second}, &response).ok());
  EXPECT_EQ(response.outcomes(0).kind(), v1::DeliveryOutcome::KIND_NEVER_FITS);
  quota_bytes_ = sizeof(kMessage) + 10;
  // A stored message stays stored, room or not.
  response.Clear();
  ASSERT_TRUE(SendDeliver({DeliverHeader({"1"}, kMessage, true)}, &response).ok());
  EXPECT_TRUE(response.outcomes(0).duplicate());
  v1::AppendResponse append;
  EXPECT_EQ(SendAppend({AppendHeader(FolderId("Sent"), kMessage, true)}, &append).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  v1::GetUsageResponse usage;
  ASSERT_TRUE(Call(&v1::MailboxService::Stub::GetUsage, For<v1::GetUsageRequest>(), &usage).ok());
  EXPECT_EQ(usage.bytes(), sizeof(kMessage) - 1);
  EXPECT_EQ(usage.messages(), 1u);
  EXPECT_EQ(usage.limit_bytes(), quota_bytes_);
  // A store that does not answer is temporary.
  disk_->SetCommitHook([](const store::CommitRequest&, bool*) { return absl::UnavailableError("away"); });
  response.Clear();
  ASSERT_TRUE(SendDeliver({DeliverHeader({"9"}, kMessage, true)}, &response).ok());
  EXPECT_EQ(response.outcomes(0).kind(), v1::DeliveryOutcome::KIND_TEMPORARY);
  disk_->SetCommitHook(nullptr);
}

// RFC 5321 §4.2.5: what was accepted for an account that is gone is returned, never stored unseen.
TEST_F(RpcTest, DeliveriesForAccountsThatAreNotServedSayWhy) {
  registry_->Delete("acc1");
  registry_->MoveTo("other", "acc2", 1);
  v1::DeliverResponse response;
  ASSERT_TRUE(SendDeliver({DeliverHeader({"1", "2", "3"}, kMessage, true)}, &response).ok());
  ASSERT_EQ(response.outcomes_size(), 3);
  EXPECT_EQ(response.outcomes(0).kind(), v1::DeliveryOutcome::KIND_NO_ACCOUNT);
  EXPECT_EQ(response.outcomes(1).kind(), v1::DeliveryOutcome::KIND_NOT_HERE);
  EXPECT_EQ(response.outcomes(2).kind(), v1::DeliveryOutcome::KIND_STORED);
  registry_->SetAway(true);
  ASSERT_TRUE(SendDeliver({DeliverHeader({"1", "4"}, kMessage, true)}, &response).ok());
  EXPECT_EQ(response.outcomes(0).kind(), v1::DeliveryOutcome::KIND_TEMPORARY);
  EXPECT_EQ(response.outcomes(1).kind(), v1::DeliveryOutcome::KIND_TEMPORARY);
  registry_->SetAway(false);
  v1::ListFoldersResponse folders;
  EXPECT_EQ(Call(&v1::MailboxService::Stub::ListFolders, For<v1::ListFoldersRequest>(), &folders).error_code(),
            grpc::StatusCode::NOT_FOUND);
  registry_->MoveTo("other", "acc1", 1);
  EXPECT_EQ(Call(&v1::MailboxService::Stub::ListFolders, For<v1::ListFoldersRequest>(), &folders).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(RpcTest, FetchColumns) {
  Append(kMessage, v1::FLAG_SEEN | v1::FLAG_FLAGGED);
  v1::FetchRequest r = FetchOf();
  r.set_modseq(true);
  r.set_flags(true);
  r.set_internal_date(true);
  r.set_size(true);
  r.set_envelope(true);
  r.set_body_structure(true);
  r.set_body(true);
  r.set_save_date(true);
  r.set_ids(true);
  r.set_preview(true);
  const Fetched f = Fetch(r);
  ASSERT_EQ(f.rows.uid_size(), 1);
  EXPECT_EQ(f.rows.flags(0), uint32_t{v1::FLAG_SEEN | v1::FLAG_FLAGGED});
  EXPECT_EQ(f.rows.size_bytes(0), sizeof(kMessage) - 1);
  EXPECT_EQ(f.rows.envelope(0).substr(0, 35), "(\"Tue, 1 Jul 2025 10:00:00 +0200\" \"");
  EXPECT_NE(f.rows.body_structure(0).find("\"base64\""), std::string::npos) << f.rows.body_structure(0);
  EXPECT_FALSE(f.rows.body(0).empty());
  EXPECT_EQ(f.rows.email_id(0).size(), 33u);
  EXPECT_EQ(f.rows.preview(0), "Hello world");
  EXPECT_GT(f.rows.save_date(0), 0);
  EXPECT_GT(f.rows.modseq(0), 1u);
}

TEST_F(RpcTest, FetchSections) {
  Append(kMessage);
  using S = v1::Section;
  EXPECT_EQ(Section(SectionOf({}, S::KIND_UNSPECIFIED)), kMessage);
  EXPECT_EQ(Section(SectionOf({}, S::KIND_HEADER_FIELDS, {"Subject", "from"})),
            "From: Ann <ann@a.example>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\n");
  EXPECT_EQ(Section(SectionOf({}, S::KIND_HEADER_FIELDS, {"x-odd", "subject"})),
            "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nX-Odd: yes\r\n\r\n");
  EXPECT_EQ(Section(SectionOf({}, S::KIND_HEADER_FIELDS_NOT,
                              {"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"})),
            "X-Odd: yes\r\n\r\n");
  EXPECT_EQ(Section(SectionOf({1}, S::KIND_UNSPECIFIED)), "SGVsbG8gd29ybGQ=");
  EXPECT_EQ(Section(SectionOf({2}, S::KIND_MIME)), "Content-Type: text/html\r\n\r\n");
  EXPECT_EQ(Section(SectionOf({3}, S::KIND_UNSPECIFIED)), "NIL");
  v1::Section partial = SectionOf({1}, S::KIND_UNSPECIFIED);
  partial.set_partial(true);
  partial.set_offset(6);
  partial.set_length(100);
  EXPECT_EQ(Section(partial), "8gd29ybGQ=");
  partial.set_offset(60);
  EXPECT_EQ(Section(partial), "");
}

TEST_F(RpcTest, AMissingCacheIsRebuilt) {
  Append(kMessage);
  v1::FetchRequest r = FetchOf();
  r.set_envelope(true);
  r.set_body_structure(true);
  const Fetched before = Fetch(r);
  store::MemoryStore side(disk_);
  ASSERT_TRUE(SyncWait(side.Drop({"t1", absl::StrCat("mb/", FolderId("INBOX"), "/c")})).ok());
  const Fetched after = Fetch(r);
  EXPECT_EQ(after.rows.envelope(0), before.rows.envelope(0));
  EXPECT_EQ(after.rows.body_structure(0), before.rows.body_structure(0));
  EXPECT_FALSE(SyncWait(side.List("t1", absl::StrCat("mb/", FolderId("INBOX"), "/c"), "", 1))->empty());
}

// As earlier versions left it: BODYSTRUCTURE had continuations as they were sent.
TEST_F(RpcTest, AStructureOfAnEarlierFormatIsRenderedAnew) {
  Append("Content-Type: text/plain; name*0=a; name*1=b\r\n\r\nx");
  Append("Content-Type: text/plain; name=plain\r\n\r\nx");
  v1::FetchRequest r = FetchOf();
  r.set_body_structure(true);
  const std::string now = Fetch(r).rows.body_structure(0);
  EXPECT_NE(now.find("(\"name\" \"ab\""), std::string::npos) << now;
  store::MemoryStore side(disk_);
  const store::Partition cache = CachePartition(TenantId("t1"), posthouse::FolderId(FolderId("INBOX")));
  for (const uint32_t uid : {1u, 2u}) {
    const store::ReadResult read = *SyncWait(side.Read({cache, {StructureKey(Uid(uid))}}));
    v1::StructureRow row = *DecodeRow<v1::StructureRow>(*read.values[0]);
    row.clear_format();
    row.set_body_structure(uid == 1 ? "(\"name*0\" \"a\" \"name*1\" \"b\")" : "as it was");
    ASSERT_TRUE(SyncWait(side.Commit({cache, {}, {{StructureKey(Uid(uid)), EncodeRow(row)}}})).ok());
  }
  const Fetched after = Fetch(r);
  EXPECT_EQ(after.rows.body_structure(0), now);
  EXPECT_EQ(after.rows.body_structure(1), "as it was");  // nothing to join: it stays
}

TEST_F(RpcTest, SetSeenIsDurableFirst) {
  Append(kMessage);
  Append(kMessage, v1::FLAG_SEEN);
  v1::FetchRequest r = FetchOf();
  r.set_set_seen(true);
  *r.add_sections() = SectionOf({}, v1::Section::KIND_TEXT);
  const Fetched f = Fetch(r);
  ASSERT_EQ(f.rows.flags_size(), 2);
  EXPECT_EQ(f.rows.flags(0), uint32_t{v1::FLAG_SEEN});
  v1::GetFolderRequest g = For<v1::GetFolderRequest>();
  g.set_name("inbox");
  v1::GetFolderResponse folder;
  ASSERT_TRUE(Call(&v1::MailboxService::Stub::GetFolder, g, &folder).ok());
  EXPECT_EQ(folder.folder().state().unseen(), 0u);
}

TEST_F(RpcTest, ManyMessagesComeInChunks) {
  const std::string folder_id = FolderId("INBOX");
  for (int i = 0; i < 1200; ++i) Append(kMessage);
  v1::FetchRequest r = FetchOf();
  r.set_envelope(true);
  r.set_flags(true);
  const Fetched f = Fetch(r);
  ASSERT_EQ(f.rows.uid_size(), 1200);
  for (int i = 0; i < 1200; ++i) ASSERT_EQ(f.rows.uid(i), static_cast<uint32_t>(i + 1));
  EXPECT_EQ(f.rows.envelope_size(), 1200);
  EXPECT_GT(f.chunks, 1);
  EXPECT_LT(f.chunks, 10);
  v1::ListUidsRequest l = For<v1::ListUidsRequest>();
  l.set_folder_id(folder_id);
  v1::ListUidsResponse uids;
  ASSERT_TRUE(Call(&v1::MailboxService::Stub::ListUids, l, &uids).ok());
  EXPECT_EQ(uids.uids_size(), 1);
  EXPECT_EQ(uids.first_unseen_uid(), 1u);
}

TEST_F(RpcTest, ChangedSinceAndVanished) {
  for (int i = 0; i < 4; ++i) Append(kMessage);
  v1::GetFolderRequest g = For<v1::GetFolderRequest>();
  g.set_name("INBOX");
  v1::GetFolderResponse folder;
  ASSERT_TRUE(Call(&v1::MailboxService::Stub::GetFolder, g, &folder).ok());
  v1::ExpungeRequest e = For<v1::ExpungeRequest>();
  e.set_folder_id(folder.folder().folder_id());
  e.add_uids()->set_first(2);
  e.mutable_uids(0)->set_last(2);
  e.set_even_undeleted(true);
  v1::ExpungeResponse expunged;
  ASSERT_TRUE(Call(&v1::MailboxService::Stub::Expunge, e, &expunged).ok());
  Append(kMessage);
  v1::FetchRequest r = FetchOf();
  r.set_flags(true);
  r.set_changed_since(folder.folder().state().highest_modseq());
  r.set_vanished(true);
  const Fetched f = Fetch(r);
  ASSERT_EQ(f.rows.uid_size(), 1);
  EXPECT_EQ(f.rows.uid(0), 5u);
  EXPECT_EQ(f.vanished, (std::vector<std::pair<uint32_t, uint32_t>>{{2, 2}}));
  v1::GetChangesRequest c = For<v1::GetChangesRequest>();
  c.set_folder_id(folder.folder().folder_id());
  c.set_after_modseq(folder.folder().state().highest_modseq());
  v1::GetChangesResponse changes;
  ASSERT_TRUE(Call(&v1::MailboxService::Stub::GetChanges, c, &changes).ok());
  EXPECT_EQ(changes.rows().uid_size(), 1);
  EXPECT_EQ(changes.vanished(0).first(), 2u);
}

using WatchStream = grpc::ClientReaderWriter<v1::WatchRequest, v1::WatchResponse>;

// The next response that has hints; "" at the end of the stream.
std::string NextHint(WatchStream& stream) {
  v1::WatchResponse response;
  while (stream.Read(&response)) {
    if (response.hints().empty()) continue;
    return absl::StrCat(response.hints(0).account_id(), "/", response.hints(0).folder_id(), "/",
                        response.hints(0).highest_modseq());
  }
  return "";
}

TEST_F(RpcTest, WatchTellsOfChangesInWatchedFolders) {
  const std::string folder_id = FolderId("INBOX");
  Append(kMessage);
  grpc::ClientContext context;
  const auto stream = stub_->Watch(&context);
  v1::WatchResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.hints_size(), 0);
  v1::WatchRequest request;
  v1::WatchRequest::Add* add = request.add_add();
  *add->mutable_account() = For<v1::GetFolderRequest>().account();
  add->set_folder_id(folder_id);
  add->set_known_modseq(1);
  ASSERT_TRUE(stream->Write(request));
  EXPECT_EQ(NextHint(*stream), absl::StrCat("acc1/", folder_id, "/2")) << "older than what is there";
  Append(kMessage);
  EXPECT_EQ(NextHint(*stream), absl::StrCat("acc1/", folder_id, "/3"));
  // Nothing newer: no answer. The next hint is that of a folder that does not exist.
  add->set_known_modseq(3);
  ASSERT_TRUE(stream->Write(request));
  add->set_folder_id("no-such-folder");
  ASSERT_TRUE(stream->Write(request));
  EXPECT_EQ(NextHint(*stream), "acc1/no-such-folder/0");
  // The server's drain ends the stream.
  std::thread drain([this] { app_->Drain(absl::Seconds(5)); });
  EXPECT_EQ(NextHint(*stream), "");
  EXPECT_FALSE(stream->Finish().ok());
  drain.join();
}

TEST_F(RpcTest, AWatchEndsWithItsClient) {
  for (const bool cancel : {false, true}) {
    grpc::ClientContext context;
    const auto stream = stub_->Watch(&context);
    v1::WatchResponse response;
    ASSERT_TRUE(stream->Read(&response));
    if (cancel) {
      context.TryCancel();
    } else {
      stream->WritesDone();
    }
    EXPECT_EQ(NextHint(*stream), "");
    stream->Finish();
  }
}

TEST_F(RpcTest, OtherPeoplesFoldersAreNotFound) {
  const std::string folder_id = FolderId("INBOX");
  v1::ListUidsRequest l = For<v1::ListUidsRequest>();
  l.mutable_account()->set_account_id("acc2");
  l.set_folder_id(folder_id);
  v1::ListUidsResponse uids;
  EXPECT_EQ(Call(&v1::MailboxService::Stub::ListUids, l, &uids).error_code(), grpc::StatusCode::NOT_FOUND);
  l.mutable_account()->set_account_id("../acc2");
  EXPECT_EQ(Call(&v1::MailboxService::Stub::ListUids, l, &uids).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// ---- search

struct SearchCase {
  std::string name;
  std::string key;  // text format
  std::vector<uint32_t> uids;
};

TEST_F(RpcTest, SearchKeys) {
  const int64_t day = 20270;                                     // 2025-07-01
  Append(kMessage, v1::FLAG_SEEN);                               // 1
  Append("Subject: other\r\nX-Odd: no\r\n\r\nplain Hello\r\n");  // 2
  {
    v1::AppendRequest r = AppendHeader(FolderId("INBOX"), "From: ann@a.example\r\n\r\nlast one\r\n", true);  // 3
    r.mutable_header()->add_keywords("$Work");
    r.mutable_header()->mutable_internal_date()->set_seconds(day * 86400 - 1800);
    r.mutable_header()->set_internal_date_zone(60);
    v1::AppendResponse response;
    ASSERT_TRUE(SendAppend({r}, &response).ok());
  }
  const std::vector<SearchCase> cases = {
      {"all", "kind: KIND_ALL", {1, 2, 3}},
      {"flag", "kind: KIND_FLAG flag: 1", {1}},
      {"not", "kind: KIND_NOT keys { kind: KIND_FLAG flag: 1 }", {2, 3}},
      {"keyword", "kind: KIND_KEYWORD text: '$work'", {3}},
      {"unknown keyword", "kind: KIND_KEYWORD text: 'nope'", {}},
      {"uids", "kind: KIND_UIDS uids { first: 2 last: 9 }", {2, 3}},
      {"subject decoded", "kind: KIND_HEADER field: 'subject' text: 'GRÜSSE'", {}},
      {"subject folded", "kind: KIND_HEADER field: 'subject' text: 'GRÜ'", {1}},
      {"from", "kind: KIND_HEADER field: 'From' text: 'ann@'", {1, 3}},
      {"field exists", "kind: KIND_HEADER field: 'X-Odd' text: ''", {1, 2}},
      {"uncached field", "kind: KIND_HEADER field: 'x-odd' text: 'YES'", {1}},
      {"body base64", "kind: KIND_BODY text: 'hello WORLD'", {1}},
      {"body", "kind: KIND_BODY text: 'hello'", {1, 2}},
      {"text in header", "kind: KIND_TEXT text: 'a.example'", {1, 3}},
      {"body not header", "kind: KIND_BODY text: 'a.example'", {}},
      {"on, in its zone", absl::StrCat("kind: KIND_ON number: ", day), {3}},
      {"before", absl::StrCat("kind: KIND_BEFORE number: ", day + 1), {3}},
      {"since", absl::StrCat("kind: KIND_SINCE number: ", day + 1), {1, 2}},
      {"sent on", absl::StrCat("kind: KIND_SENT_ON number: ", day), {1}},
      {"sent since", absl::StrCat("kind: KIND_SENT_SINCE number: ", day + 1), {}},
      {"sent before", absl::StrCat("kind: KIND_SENT_BEFORE number: ", day + 1), {1}},
      {"larger", "kind: KIND_LARGER number: 100", {1}},
      {"smaller", "kind: KIND_SMALLER number: 40", {3}},
      {"older", "kind: KIND_OLDER number: 3600", {3}},
      {"younger", "kind: KIND_YOUNGER number: 3600", {1, 2}},
      {"saved since", absl::StrCat("kind: KIND_SAVED_SINCE number: ", day), {1, 2, 3}},
      {"saved before", absl::StrCat("kind: KIND_SAVED_BEFORE number: ", day), {}},
      {"modseq", "kind: KIND_MODSEQ number: 1", {1, 2, 3}},
      {"and", "kind: KIND_AND keys { kind: KIND_BODY text: 'hello' } keys { kind: KIND_FLAG flag: 1 }", {1}},
      {"or", "kind: KIND_OR keys { kind: KIND_KEYWORD text: '$Work' } keys { kind: KIND_BODY text: 'world' }", {1, 3}},
  };
  const std::string folder_id = FolderId("INBOX");
  for (const SearchCase& c : cases) {
    v1::SearchRequest r = For<v1::SearchRequest>();
    r.set_folder_id(folder_id);
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(c.key, r.mutable_key())) << c.key;
    v1::SearchResponse response;
    const grpc::Status status = Call(&v1::MailboxService::Stub::Search, r, &response);
    ASSERT_TRUE(status.ok()) << c.name << ": " << status.error_message();
    std::vector<uint32_t> found;
    for (const auto& range : response.uids()) {
      for (uint32_t uid = range.first(); uid <= range.last(); ++uid) found.push_back(uid);
    }
    EXPECT_EQ(found, c.uids) << c.name;
    EXPECT_EQ(response.highest_modseq() != 0, c.name == "modseq");
  }
  v1::SearchRequest r = For<v1::SearchRequest>();
  r.set_folder_id(folder_id);
  v1::SearchResponse response;
  EXPECT_EQ(Call(&v1::MailboxService::Stub::Search, r, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// ---- answers without a bound by nature

// A folder as large as clients have them, and as full of holes as can be: every answer
// stays below 1 MiB, and the parts make the whole.
TEST_F(RpcTest, LongAnswersComeInParts) {
  constexpr uint32_t kMessages = 60'000;  // UIDs 1, 3, 5, ...
  const std::string folder_id = FolderId("INBOX");
  Stop();
  FillFolder(folder_id, kMessages);
  Start();
  const auto bounded = [](const auto& response) { EXPECT_LT(response.ByteSizeLong(), size_t{1} << 20); };
  uint64_t count = 0;

  v1::ListUidsRequest list = For<v1::ListUidsRequest>();
  list.set_folder_id(folder_id);
  for (bool more = true; more;) {
    v1::ListUidsResponse part;
    ASSERT_TRUE(Call(&v1::MailboxService::Stub::ListUids, list, &part).ok());
    bounded(part);
    count += static_cast<uint64_t>(part.uids_size());
    list.set_after_uid(part.uids().rbegin()->last());
    more = part.more();
  }
  EXPECT_EQ(count, kMessages);
  EXPECT_GT(list.after_uid(), kMessages);

  v1::SearchRequest search = For<v1::SearchRequest>();
  search.set_folder_id(folder_id);
  search.mutable_key()->set_kind(v1::SearchKey::KIND_ALL);
  count = 0;
  for (bool more = true; more;) {
    v1::SearchResponse part;
    ASSERT_TRUE(Call(&v1::MailboxService::Stub::Search, search, &part).ok());
    bounded(part);
    count += static_cast<uint64_t>(part.uids_size());
    search.set_after_uid(part.uids().rbegin()->last());
    more = part.more();
  }
  EXPECT_EQ(count, kMessages);

  v1::StoreFlagsRequest store = For<v1::StoreFlagsRequest>();
  store.set_folder_id(folder_id);
  store.add_uids()->set_last(UINT32_MAX);
  store.set_mode(v1::StoreFlagsRequest::MODE_ADD);
  store.set_flags(v1::FLAG_DELETED);
  count = 0;
  do {
    v1::StoreFlagsResponse part;
    const grpc::Status status = Call(&v1::MailboxService::Stub::StoreFlags, store, &part);
    ASSERT_TRUE(status.ok()) << status.error_message();
    bounded(part);
    count += static_cast<uint64_t>(part.rows().uid_size());
    store.set_after_uid(part.continue_after());
  } while (store.after_uid() != 0);
  EXPECT_EQ(count, kMessages);

  v1::GetChangesRequest changes = For<v1::GetChangesRequest>();
  changes.set_folder_id(folder_id);
  changes.set_after_modseq(2);  // FillFolder()'s: all have changed since
  count = 0;
  for (bool more = true; more;) {
    v1::GetChangesResponse part;
    const grpc::Status status = Call(&v1::MailboxService::Stub::GetChanges, changes, &part);
    ASSERT_TRUE(status.ok()) << status.error_message();
    bounded(part);
    EXPECT_FALSE(part.full());
    count += static_cast<uint64_t>(part.rows().uid_size());
    changes.set_after_uid(*part.rows().uid().rbegin());
    more = part.more();
  }
  EXPECT_EQ(count, kMessages);

  v1::ExpungeRequest expunge = For<v1::ExpungeRequest>();
  expunge.set_folder_id(folder_id);
  count = 0;
  for (bool more = true; more;) {
    v1::ExpungeResponse part;
    ASSERT_TRUE(Call(&v1::MailboxService::Stub::Expunge, expunge, &part).ok());
    bounded(part);
    count += static_cast<uint64_t>(part.expunged_size());
    more = part.more();
    if (!more) EXPECT_EQ(part.state().exists(), 0u);
  }
  EXPECT_EQ(count, kMessages);

  // More vanished than one answer tells: all that is there is the shorter answer.
  changes.set_after_uid(0);
  v1::GetChangesResponse gone;
  ASSERT_TRUE(Call(&v1::MailboxService::Stub::GetChanges, changes, &gone).ok());
  bounded(gone);
  EXPECT_TRUE(gone.full());
  EXPECT_TRUE(gone.vanished().empty());
  v1::FetchRequest fetch = FetchOf();
  fetch.set_vanished(true);
  fetch.set_changed_since(2);
  EXPECT_EQ(Fetch(fetch).vanished.size(), kMessages);
}

// A full disk may have the commit in its log all the same. Then the message is there
// when the disk has room again, and must have its body.
TEST_F(RpcTest, AnAppendThatFailedKeepsItsBody) {
  const std::string folder_id = FolderId("INBOX");
  disk_->SetCommitHook([](const store::CommitRequest& request, bool* apply_anyway) {
    *apply_anyway = true;
    return absl::ResourceExhaustedError("no space");
  });
  v1::AppendResponse response;
  EXPECT_EQ(SendAppend({AppendHeader(folder_id, kMessage, true)}, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  disk_->SetCommitHook(nullptr);
  EXPECT_EQ(Section(SectionOf({}, v1::Section::KIND_UNSPECIFIED)), kMessage);
}

// An envelope too long for a row is made anew for each FETCH, and not written each time.
TEST_F(RpcTest, WhatIsTooLongToKeepIsNotWrittenByReaders) {
  std::string to = "To: a@a.example";
  while (to.size() < 80'000) to += ",\r\n somebody@b.example";
  Append(to + "\r\n\r\nbody\r\n");
  v1::FetchRequest r = FetchOf();
  r.set_envelope(true);
  std::atomic<int> commits{0};
  disk_->SetCommitHook([&commits](const store::CommitRequest&, bool*) {
    ++commits;
    return absl::OkStatus();
  });
  EXPECT_GT(Fetch(r).rows.envelope(0).size(), 80'000u);
  disk_->SetCommitHook(nullptr);
  EXPECT_EQ(commits, 0);
}

// Each other row says by its tag whether this binary knows it.
TEST_F(RpcTest, ADamagedSchemaRowCostsNothingAndAnotherSchemaIsRefused) {
  const uint32_t uid = Append(kMessage);
  Stop();
  store::MemoryStore raw(disk_);
  const auto write = [&raw](const std::string& value) {
    EXPECT_TRUE(SyncWait(raw.Commit({SystemPartition(), {}, {{SystemKey(), value}}})).ok());
  };
  const auto open = [this](std::unique_ptr<store::Store> store) {
    runtime_ = runtime::NewTestRuntime(config_);
    auto app = App::CreateOn(*runtime_, std::move(store), std::make_unique<FakeRegistry>());
    const absl::Status status = app.status();
    if (app.ok()) (*app)->Drain(absl::Seconds(5));
    if (app.ok()) app->reset();
    runtime_.reset();
    return status;
  };
  v1::SystemRow newer;
  newer.set_schema(kSchemaVersion + 1);
  for (const std::string& other : {EncodeRow(newer), std::string("\x02 of a later release"), std::string("2")}) {
    write(other);
    const absl::Status status = open(std::make_unique<store::MemoryStore>(disk_));
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  }
  write("\x01\xff\xff damaged");
  disk_->SetFreeBytes(0);  // also on a full disk
  EXPECT_TRUE(open(std::make_unique<store::MemoryStore>(disk_)).ok());
  EXPECT_EQ(SyncWait(raw.Read({SystemPartition(), {SystemKey()}}))->values[0].value_or("")[0], kSchemaTag);
  EXPECT_TRUE(open(std::make_unique<store::StoreWithHole>(raw, SystemKey(), SystemKey())).ok());
  disk_->SetFreeBytes(uint64_t{1} << 40);
  Start();
  EXPECT_EQ(Section(SectionOf({}, v1::Section::KIND_UNSPECIFIED)), kMessage);
  EXPECT_EQ(Append(kMessage), uid + 1);
}

}  // namespace
}  // namespace posthouse::mailbox
