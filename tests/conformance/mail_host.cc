#include "tests/conformance/mail_host.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/common/rpc/channels.h"
#include "services/common/runtime/testing/test_runtime.h"
#include "services/common/status/status.h"
#include "services/mailbox/testing/fake_registry.h"

namespace posthouse::conformance {
namespace {

config::v1::Config ConfigOf(const config::v1::Gateway& gateway, bool plaintext_auth) {
  config::v1::Config config;
  config.set_hostname("mail.a.example");
  config.mutable_rpc()->set_port(0);
  for (const auto& [name, special_use] : {std::pair("Sent", "\\Sent"), std::pair("Trash", "\\Trash")}) {
    config::v1::DefaultFolder* folder = config.mutable_mailbox()->add_default_folders();
    folder->set_name(name);
    folder->set_special_use(special_use);
  }
  *config.mutable_gateway() = gateway;
  config.mutable_gateway()->set_allow_plaintext_auth(plaintext_auth);
  config.mutable_gateway()->mutable_imap()->set_port(0);
  config.mutable_gateway()->mutable_pop3()->set_port(0);
  config.mutable_gateway()->mutable_imaps()->set_disabled(true);
  config.mutable_gateway()->mutable_pop3s()->set_disabled(true);
  return config;
}

}  // namespace

MailHost::MailHost(const config::v1::Gateway& gateway, bool plaintext_auth)
    : runtime_(runtime::NewTestRuntime(ConfigOf(gateway, plaintext_auth))),
      disk_(std::make_shared<store::MemoryDisk>()),
      failing_calls_(std::make_unique<FailingCalls>()) {
  mailbox_ = *mailbox::App::CreateOn(*runtime_, std::make_unique<store::MemoryStore>(disk_),
                                     std::make_unique<mailbox::FakeRegistry>());
  grpc::ServerBuilder builder;
  builder.RegisterService(&directory_);
  for (grpc::Service* service : mailbox_->services()) builder.RegisterService(service);
  server_ = builder.BuildAndStart();
  others_ = mailbox::v1::MailboxService::NewStub(server_->InProcessChannel({}));
  rpc::Channels channels;
  channels.directory = server_->InProcessChannel({});
  channels.mailbox[Home()] = std::make_shared<rpc::Members>(failing_calls_->ChannelTo(*server_));
  gateway_ = *gateway::App::Create(*runtime_, std::move(channels));
  NewAccount();
}

MailHost::~MailHost() {
  gateway_.reset();
  others_.reset();
  mailbox_->Drain(absl::Seconds(5));
  server_->Shutdown();
  server_.reset();
  mailbox_.reset();
  runtime_.reset();
}

void MailHost::NewAccount() {
  account_.set_tenant("t1");
  account_.set_account_id(absl::StrCat("acc", ++accounts_));
  directory_.set_account_id(account_.account_id());
}

void MailHost::SeenByAnother(const std::string& folder) {
  mailbox::v1::GetFolderRequest get;
  *get.mutable_account() = account_;
  get.set_name(folder);
  mailbox::v1::GetFolderResponse found;
  grpc::ClientContext get_context;
  if (!others_->GetFolder(&get_context, get, &found).ok()) return;  // SELECT will say so
  mailbox::v1::ListUidsRequest list;
  *list.mutable_account() = account_;
  list.set_folder_id(found.folder().folder_id());
  list.set_claim_recent(true);
  mailbox::v1::ListUidsResponse uids;
  grpc::ClientContext list_context;
  ASSERT_TRUE(others_->ListUids(&list_context, list, &uids).ok());
}

void MailHost::LoseBodies() {
  store::MemoryStore side(disk_);
  const absl::StatusOr<store::BlobPage> page = SyncWait(side.blobs().List(account_.tenant(), "", store::kMaxPageRows));
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_FALSE(page->blobs.empty());
  for (const store::BlobInfo& blob : page->blobs) {
    ASSERT_TRUE(SyncWait(side.blobs().Delete(account_.tenant(), blob.name)).ok());
  }
}

void MailHost::Deliver(const std::string& folder, const std::string& message, uint32_t flags,
                       const std::vector<std::string>& keywords) {
  mailbox::v1::GetFolderRequest get;
  *get.mutable_account() = account_;
  get.set_name(folder);
  mailbox::v1::GetFolderResponse found;
  grpc::ClientContext get_context;
  ASSERT_TRUE(others_->GetFolder(&get_context, get, &found).ok()) << folder;
  mailbox::v1::AppendRequest append;
  mailbox::v1::AppendRequest::Header* header = append.mutable_header();
  *header->mutable_account() = account_;
  header->set_folder_id(found.folder().folder_id());
  header->set_flags(flags);
  for (const std::string& keyword : keywords) header->add_keywords(keyword);
  mailbox::v1::AppendResponse stored;
  grpc::ClientContext append_context;
  const auto stream = others_->Append(&append_context, &stored);
  constexpr size_t kPieceBytes = 128 * 1024;
  stream->Write(append);
  for (size_t at = 0; at < message.size(); at += kPieceBytes) {
    append.set_data(message.substr(at, kPieceBytes));
    stream->Write(append);
  }
  append.mutable_commit()->set_size_bytes(message.size());
  stream->Write(append);
  stream->WritesDone();
  const grpc::Status status = stream->Finish();
  ASSERT_TRUE(status.ok()) << status.error_message();
}

}  // namespace posthouse::conformance
