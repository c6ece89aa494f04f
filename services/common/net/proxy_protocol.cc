#include "services/common/net/proxy_protocol.h"

#include <arpa/inet.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace posthouse::net {
namespace {

constexpr absl::string_view kV2Signature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t kMaxV1 = 107;

absl::Status NeedMore() { return absl::UnavailableError("PROXY header is not complete"); }
absl::Status Bad(absl::string_view why) {
  return absl::InvalidArgumentError(std::string("not a PROXY header: ") + std::string(why));
}

// The normal form of an address, IPv4-mapped IPv6 as IPv4, as for an accepted socket.
std::string AddressText(int family, const unsigned char* bytes) {
  static constexpr unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (family == AF_INET6 && std::memcmp(bytes, kMapped, sizeof kMapped) == 0) {
    family = AF_INET;
    bytes += sizeof kMapped;
  }
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, bytes, text, sizeof text);
  return text;
}

bool ParseLiteral(int family, absl::string_view text, std::string* address) {
  unsigned char bytes[16];
  if (inet_pton(family, std::string(text).c_str(), bytes) != 1) return false;
  *address = AddressText(family, bytes);
  return true;
}

bool ParsePort(absl::string_view text, uint16_t* port) {
  uint32_t value;
  if (text.empty() || text.size() > 5 || !absl::SimpleAtoi(text, &value) || value > 65535) return false;
  *port = static_cast<uint16_t>(value);
  return true;
}

// "PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n"
absl::StatusOr<ProxyHeader> ParseV1(absl::string_view input) {
  const size_t end = input.substr(0, kMaxV1).find("\r\n");
  if (end == absl::string_view::npos) return input.size() < kMaxV1 ? NeedMore() : Bad("line too long");
  const std::vector<absl::string_view> words = absl::StrSplit(input.substr(0, end), ' ');
  ProxyHeader header;
  header.header_bytes = end + 2;
  if (words.size() >= 2 && words[1] == "UNKNOWN") return header;
  if (words.size() != 6) return Bad("wrong number of fields");
  const int family = words[1] == "TCP4" ? AF_INET : words[1] == "TCP6" ? AF_INET6 : -1;
  Endpoint source, destination;
  if (family < 0 || !ParseLiteral(family, words[2], &source.address) ||
      !ParseLiteral(family, words[3], &destination.address) || !ParsePort(words[4], &source.port) ||
      !ParsePort(words[5], &destination.port)) {
    return Bad("bad address or port");
  }
  header.source = std::move(source);
  header.destination = std::move(destination);
  return header;
}

Endpoint ReadEndpoint(int family, const char* address, const char* port) {
  uint16_t value;
  std::memcpy(&value, port, 2);
  return Endpoint{AddressText(family, reinterpret_cast<const unsigned char*>(address)), ntohs(value)};
}

absl::StatusOr<ProxyHeader> ParseV2(absl::string_view input) {
  if (input.size() < 16) return NeedMore();
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(input[i]); };
  if (byte(12) >> 4 != 2) return Bad("unknown version");
  const size_t length = static_cast<size_t>(byte(14)) << 8 | byte(15);
  if (16 + length > kMaxProxyHeader) return Bad("header too long");
  if (input.size() < 16 + length) return NeedMore();
  ProxyHeader header;
  header.header_bytes = 16 + length;
  const int command = byte(12) & 0xf;
  if (command == 0) return header;  // LOCAL: the balancer's own health check
  if (command != 1) return Bad("unknown command");
  const char* a = input.data() + 16;
  if (byte(13) == 0x11) {  // TCP over IPv4
    if (length < 12) return Bad("short IPv4 block");
    header.source = ReadEndpoint(AF_INET, a, a + 8);
    header.destination = ReadEndpoint(AF_INET, a + 4, a + 10);
  } else if (byte(13) == 0x21) {  // TCP over IPv6
    if (length < 36) return Bad("short IPv6 block");
    header.source = ReadEndpoint(AF_INET6, a, a + 32);
    header.destination = ReadEndpoint(AF_INET6, a + 16, a + 34);
  }
  return header;  // other families: the socket's peer is the client
}

}  // namespace

absl::StatusOr<ProxyHeader> ParseProxyHeader(absl::string_view input) {
  const size_t n = std::min(input.size(), kV2Signature.size());
  if (input.substr(0, n) == kV2Signature.substr(0, n)) {
    if (n < kV2Signature.size()) return NeedMore();
    return ParseV2(input);
  }
  constexpr absl::string_view kV1 = "PROXY ";
  const size_t m = std::min(input.size(), kV1.size());
  if (input.substr(0, m) != kV1.substr(0, m)) return Bad("no signature");
  if (m < kV1.size()) return NeedMore();
  return ParseV1(input);
}

}  // namespace posthouse::net
