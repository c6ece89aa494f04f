#include "services/common/net/proxy_protocol.h"

#include <string>

#include <gtest/gtest.h>

namespace posthouse::net {
namespace {

const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string V2(unsigned char command, unsigned char family, const std::string& block) {
  std::string header = kSignature;
  header += static_cast<char>(command);
  header += static_cast<char>(family);
  header += static_cast<char>(block.size() >> 8);
  header += static_cast<char>(block.size());
  return header + block;
}

TEST(ProxyProtocolTest, ReadsVersion1) {
  const auto header = ParseProxyHeader("PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\nEHLO x\r\n");
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->header_bytes, 44u);
  EXPECT_EQ(header->source->ToString(), "192.0.2.1:56324");
  EXPECT_EQ(header->destination->ToString(), "198.51.100.1:25");
}

TEST(ProxyProtocolTest, ReadsVersion2) {
  const std::string v4 = V2(0x21, 0x11, std::string("\xc0\x00\x02\x01\xc6\x33\x64\x01\xdc\x04\x00\x19", 12));
  EXPECT_EQ(ParseProxyHeader(v4 + "rest")->source->ToString(), "192.0.2.1:56324");
  EXPECT_EQ(ParseProxyHeader(v4 + "rest")->header_bytes, v4.size());
  std::string block(36, '\0');
  block[0] = 0x20;
  block[1] = 0x01;
  block[15] = 0x01;
  EXPECT_EQ(ParseProxyHeader(V2(0x21, 0x21, block))->source->address, "2001::1");
}

TEST(ProxyProtocolTest, AddressesHaveOneSpelling) {
  const auto v1 = ParseProxyHeader("PROXY TCP6 2001:DB8:0:0::1 ::ffff:192.0.2.9 1 25\r\n");
  ASSERT_TRUE(v1.ok()) << v1.status();
  EXPECT_EQ(v1->source->address, "2001:db8::1");
  EXPECT_EQ(v1->destination->address, "192.0.2.9");
  std::string block(36, '\0');
  block[10] = block[11] = '\xff';
  block.replace(12, 4, "\xc0\x00\x02\x07", 4);
  EXPECT_EQ(ParseProxyHeader(V2(0x21, 0x21, block))->source->address, "192.0.2.7");
}

TEST(ProxyProtocolTest, UnknownAndLocalKeepTheRealPeer) {
  EXPECT_FALSE(ParseProxyHeader("PROXY UNKNOWN ffff:: x 1 2\r\n")->source.has_value());
  EXPECT_FALSE(ParseProxyHeader(V2(0x20, 0x00, ""))->source.has_value());
}

TEST(ProxyProtocolTest, EveryProperPrefixNeedsMore) {
  for (const std::string& whole :
       {std::string("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"), V2(0x21, 0x11, std::string(12, '\1'))}) {
    for (size_t n = 0; n < whole.size(); ++n) {
      EXPECT_EQ(ParseProxyHeader(whole.substr(0, n)).status().code(), absl::StatusCode::kUnavailable) << n;
    }
    EXPECT_TRUE(ParseProxyHeader(whole).ok());
  }
}

TEST(ProxyProtocolTest, RefusesWhatIsNotOne) {
  for (const std::string& bad :
       {std::string("EHLO client.example\r\n"), std::string("PROXY TCP4 192.0.2.1 198.51.100.1 70000 25\r\n"),
        std::string("PROXY TCP4 2001:db8::1 198.51.100.1 1 25\r\n"),
        std::string("PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n"), "PROXY " + std::string(200, 'x'),
        V2(0x31, 0x11, std::string(12, '\0')), V2(0x21, 0x11, "short"), V2(0x2f, 0x11, std::string(12, '\0')),
        kSignature + std::string("\x21\x11\xff\xff", 4)}) {
    EXPECT_EQ(ParseProxyHeader(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(CidrTest, ContainsByBits) {
  struct Case {
    const char* network;
    const char* address;
    bool inside;
  };
  for (const Case& c : {Case{"10.0.0.0/8", "10.255.0.1", true}, Case{"10.0.0.0/8", "11.0.0.1", false},
                        Case{"192.0.2.128/25", "192.0.2.127", false}, Case{"192.0.2.128/25", "192.0.2.128", true},
                        Case{"0.0.0.0/0", "203.0.113.9", true}, Case{"0.0.0.0/0", "::1", false},
                        Case{"2001:db8::/33", "2001:db8:7fff::1", true},
                        Case{"2001:db8::/33", "2001:db8:8000::1", false}, Case{"127.0.0.1", "127.0.0.1", true},
                        Case{"127.0.0.0/8", "::ffff:127.0.0.1", true}, Case{"127.0.0.0/8", "not an address", false}}) {
    EXPECT_EQ(Cidr::Parse(c.network)->Contains(c.address), c.inside) << c.network << " " << c.address;
  }
  for (const char* bad : {"", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/"}) {
    EXPECT_FALSE(Cidr::Parse(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace posthouse::net
