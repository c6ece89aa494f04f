// The table of callers against the methods that the protos have.
#include "services/common/rpc/callers.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/backup/v1/backup.pb.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/ingress/v1/ingress.pb.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "posthouse/queue/v1/queue.pb.h"
#include "posthouse/routing/v1/routing.pb.h"
#include "posthouse/sessions/v1/sessions.pb.h"

namespace posthouse::rpc {
namespace {

// Every service has a method with a request of one of these files.
std::vector<const google::protobuf::FileDescriptor*> Files() {
  return {backup::v1::RunRequest::descriptor()->file(),
          directory::v1::WatchRequest::descriptor()->file(),
          ingress::v1::FindRefusalsRequest::descriptor()->file(),
          mailbox::v1::WatchRequest::descriptor()->file(),
          queue::v1::EnqueueRequest::descriptor()->file(),
          routing::v1::ResolveRecipientRequest::descriptor()->file(),
          sessions::v1::ListSessionsRequest::descriptor()->file()};
}

std::vector<std::string> MethodsOfTheProtos() {
  std::vector<std::string> methods;
  for (const google::protobuf::FileDescriptor* file : Files()) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        methods.push_back(absl::StrCat(file->service(s)->full_name(), "/", file->service(s)->method(m)->name()));
      }
    }
  }
  return methods;
}

TEST(CallersTest, EveryMethodHasOneRowAndEveryRowAMethod) {
  std::vector<std::string> rows;
  for (const MethodCallers& row : AllMethodCallers()) {
    rows.push_back(absl::StrCat(row.service, "/", row.method));
    EXPECT_FALSE(row.callers.empty()) << rows.back();
  }
  EXPECT_THAT(rows, testing::UnorderedElementsAreArray(MethodsOfTheProtos()));
}

TEST(CallersTest, IngressReadsNoMailAndOnlyAnAdminAdministers) {
  for (const std::string& method : MethodsOfTheProtos()) {
    const bool usage = absl::EndsWith(method, "MailboxService/GetUsage");
    if (absl::StrContains(method, ".mailbox.") && !usage) EXPECT_FALSE(MayCall(Caller::kIngress, method)) << method;
    if (absl::StrContains(method, "MailboxService/Deliver")) EXPECT_FALSE(MayCall(Caller::kGateway, method));
    if (absl::StrContains(method, "AdminService/") || absl::StrContains(method, "BackupService/") ||
        absl::StrContains(method, "SessionsService/")) {
      for (const Caller caller : {Caller::kIngress, Caller::kRouting, Caller::kDirectory, Caller::kQueue,
                                  Caller::kMailbox, Caller::kGateway}) {
        EXPECT_FALSE(MayCall(caller, method)) << CallerName(caller) << " " << method;
      }
      EXPECT_TRUE(MayCall(Caller::kAdmin, method)) << method;
    }
    EXPECT_FALSE(MayCall(Caller::kNobody, method)) << method;
    EXPECT_TRUE(MayCall(Caller::kProcess, method)) << method;
  }
  // An administrator reads and writes no mail, and logs in as nobody.
  for (const char* method : {"mailbox.v1.MailboxService/Fetch", "mailbox.v1.MailboxService/Deliver",
                             "queue.v1.QueueService/Enqueue", "directory.v1.DirectoryService/Authenticate"}) {
    EXPECT_FALSE(MayCall(Caller::kAdmin, absl::StrCat("posthouse.", method))) << method;
  }
  EXPECT_FALSE(MayCall(Caller::kAdmin, "posthouse.queue.v1.QueueService/NoSuchMethod"));
}

TEST(CallersTest, ACertificateIsKnownByItsFirstLabel) {
  for (const auto& [name, caller] :
       std::vector<std::pair<std::string, Caller>>{{"queue", Caller::kQueue},
                                                   {"Queue", Caller::kQueue},
                                                   {"posthouse-queue", Caller::kQueue},
                                                   {"queue-0.queue.posthouse.svc", Caller::kQueue},
                                                   {"posthouse-mailbox-12.mailbox", Caller::kMailbox},
                                                   {"gateway.example.org", Caller::kGateway},
                                                   {"admin", Caller::kAdmin},
                                                   {"posthousectl", Caller::kAdmin},
                                                   {"", Caller::kNobody},
                                                   {"queue-", Caller::kNobody},
                                                   {"queue-a", Caller::kNobody},
                                                   {"queue0", Caller::kNobody},
                                                   {"mail.queue", Caller::kNobody},
                                                   {"process", Caller::kNobody},
                                                   {"nobody", Caller::kNobody}}) {
    EXPECT_EQ(CallerOfCertificate(name), caller) << name;
  }
}

TEST(CallersTest, AProcessServesTheServicesOfItsPackage) {
  EXPECT_THAT(ServicesOf("queue"),
              testing::UnorderedElementsAre("posthouse.queue.v1.QueueService", "posthouse.queue.v1.QueueAdminService"));
  EXPECT_THAT(ServicesOf("gateway"), testing::ElementsAre("posthouse.sessions.v1.SessionsService"));
  EXPECT_THAT(ServicesOf("ingress"), testing::UnorderedElementsAre("posthouse.ingress.v1.IngressAdminService",
                                                                   "posthouse.sessions.v1.SessionsService"));
  EXPECT_THAT(ServicesOf("mailbox"), testing::ElementsAre("posthouse.mailbox.v1.MailboxService"));
  const std::vector<std::string> all = ServicesOf("standalone");
  EXPECT_EQ(all.size(), std::set<std::string>(all.begin(), all.end()).size());
  EXPECT_GE(all.size(), 7u);
}

}  // namespace
}  // namespace posthouse::rpc
