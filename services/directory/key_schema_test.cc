#include "services/directory/key_schema.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "posthouse/directory/v1/directory.pb.h"

namespace posthouse::directory {
namespace {

// These keys are on disks: changing one of them is a new schema.
TEST(KeySchemaTest, KeysAreTheBytesThatWereWritten) {
  EXPECT_EQ(SystemPartition(), (store::Partition{"", "sys"}));
  EXPECT_EQ(TenantPartition(TenantId("acme")), (store::Partition{"acme", "dir/acme"}));
  EXPECT_EQ(TenantKey(TenantId("acme")), "t/acme");
  EXPECT_EQ(DomainKey("example.org"), "d/example.org");
  EXPECT_EQ(AccountKey({"a/b", "example.org"}), "a/example.org/a/b");
  EXPECT_EQ(AliasKey({"info", "example.org"}), "l/example.org/info");
  EXPECT_EQ(CredentialKey(AccountId("00ff")), "p/00ff");
  EXPECT_EQ(absl::BytesToHexString(LogKey(0x0102030405060708)), "632f0102030405060708");
}

TEST(KeySchemaTest, LogKeysSortAsRevisions) {
  EXPECT_LT(LogKey(255), LogKey(256));
  EXPECT_LT(LogKey(0xFFFFFFFF), LogKey(0x100000000));
  EXPECT_LT(LogKey(0x7FFFFFFFFFFFFFFF), LogKey(~uint64_t{0}));
}

TEST(KeySchemaTest, ADomainsRowsAreNoOthers) {
  EXPECT_EQ(AccountKey({"x", "example.org.uk"}).find(AccountsOfDomainPrefix("example.org")), std::string::npos);
}

TEST(KeySchemaTest, ValuesCarryTheirSchema) {
  v1::Tenant tenant;
  tenant.set_tenant("acme");
  const std::string value = Encode(tenant);
  EXPECT_EQ(absl::BytesToHexString(value), "010a0461636d65");
  v1::Tenant back;
  ASSERT_TRUE(Decode(value, &back).ok());
  EXPECT_EQ(back.tenant(), "acme");
  EXPECT_EQ(Decode("", &back).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Decode("\x01\x0a\x09", &back).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Decode(std::string(1, '\0') + "x", &back).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Decode("\x02", &back).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace posthouse::directory
