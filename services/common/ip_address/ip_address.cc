#include "services/common/ip_address/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace posthouse {
namespace {

struct Network {
  absl::string_view bytes;  // its first bytes
  int bits;
};

bool In(absl::string_view address, const Network& network) {
  const auto whole = static_cast<size_t>(network.bits / 8);
  if (address.substr(0, whole) != network.bytes.substr(0, whole)) return false;
  const int rest = network.bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<unsigned char>(0xff << (8 - rest));
  return ((static_cast<unsigned char>(address[whole]) ^ static_cast<unsigned char>(network.bytes[whole])) & mask) == 0;
}

absl::string_view Bytes(const char* bytes, size_t size) { return {bytes, size}; }

bool IsGlobalIpv4(absl::string_view address) {
  const Network kOthers[] = {
      {Bytes("\x00", 1), 8},           // this network
      {Bytes("\x0a", 1), 8},           // RFC 1918
      {Bytes("\x64\x40", 2), 10},      // RFC 6598, shared
      {Bytes("\x7f", 1), 8},           // loopback
      {Bytes("\xa9\xfe", 2), 16},      // link-local
      {Bytes("\xac\x10", 2), 12},      // RFC 1918
      {Bytes("\xc0\x00\x00", 3), 24},  // IETF protocols
      {Bytes("\xc0\xa8", 2), 16},      // RFC 1918
      {Bytes("\xc6\x12", 2), 15},      // benchmarks
      {Bytes("\xe0", 1), 4},           // multicast
      {Bytes("\xf0", 1), 4},           // reserved, broadcast
  };
  for (const Network& network : kOthers) {
    if (In(address, network)) return false;
  }
  return true;
}

bool IsGlobalIpv6(absl::string_view address) {
  // Only 2000::/3 is global unicast (RFC 4291 §2.4); NAT64 (RFC 6052) and 6to4 (RFC 3056)
  // lead to the IPv4 address in them.
  if (In(address, {Bytes("\x00\x64\xff\x9b\0\0\0\0\0\0\0\0", 12), 96})) return IsGlobalIpv4(address.substr(12));
  if (In(address, {Bytes("\x20\x02", 2), 16})) return IsGlobalIpv4(address.substr(2, 4));
  return In(address, {Bytes("\x20", 1), 3});
}

}  // namespace

std::string IpBytes(absl::string_view text) {
  const std::string z(text);
  char bytes[sizeof(in6_addr)];
  if (inet_pton(AF_INET, z.c_str(), bytes) == 1) return std::string(bytes, 4);
  if (inet_pton(AF_INET6, z.c_str(), bytes) != 1) return "";
  const absl::string_view all(bytes, sizeof bytes);
  const absl::string_view mapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  return std::string(absl::StartsWith(all, mapped) ? all.substr(12) : all);
}

std::string NetworkOf(absl::string_view text, int v4_bits, int v6_bits) {
  std::string bytes = IpBytes(text);
  if (bytes.empty()) return std::string(text);
  const bool v4 = bytes.size() == 4;
  const int bits = v4 ? v4_bits : v6_bits;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int kept = std::clamp(bits - static_cast<int>(8 * i), 0, 8);
    bytes[i] = static_cast<char>(static_cast<unsigned char>(bytes[i]) & (0xff00 >> kept));
  }
  char name[INET6_ADDRSTRLEN];
  return absl::StrCat(inet_ntop(v4 ? AF_INET : AF_INET6, bytes.data(), name, sizeof name), "/", bits);
}

bool IsLoopback(absl::string_view text) {
  const std::string address = IpBytes(text);
  return (address.size() == 4 && address[0] == 127) ||
         address == absl::string_view("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
}

bool IsGlobal(absl::string_view text) {
  const std::string address = IpBytes(text);
  if (address.empty()) return false;
  return address.size() == 4 ? IsGlobalIpv4(address) : IsGlobalIpv6(address);
}

}  // namespace posthouse
