#include <arpa/inet.h>

#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/net/connection.h"

namespace posthouse::net {
namespace {

// The 4 or 16 bytes of a literal; IPv4-mapped IPv6 becomes IPv4. Empty: not a literal.
std::string AddressBytes(absl::string_view text) {
  const std::string z(text);
  unsigned char bytes[16];
  if (inet_pton(AF_INET, z.c_str(), bytes) == 1) return std::string(reinterpret_cast<char*>(bytes), 4);
  if (inet_pton(AF_INET6, z.c_str(), bytes) != 1) return "";
  static constexpr unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::memcmp(bytes, kMapped, sizeof kMapped) == 0) return std::string(reinterpret_cast<char*>(bytes) + 12, 4);
  return std::string(reinterpret_cast<char*>(bytes), 16);
}

}  // namespace

std::string Endpoint::ToString() const {
  return absl::StrContains(address, ":") ? absl::StrCat("[", address, "]:", port) : absl::StrCat(address, ":", port);
}

absl::StatusOr<Cidr> Cidr::Parse(absl::string_view text) {
  const size_t slash = text.find('/');
  Cidr cidr;
  cidr.bytes_ = AddressBytes(text.substr(0, slash));
  if (cidr.bytes_.empty())
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a network (192.0.2.0/24 or 2001:db8::/32)"));
  const int width = static_cast<int>(cidr.bytes_.size()) * 8;
  cidr.bits_ = width;
  if (slash != absl::string_view::npos &&
      (!absl::SimpleAtoi(text.substr(slash + 1), &cidr.bits_) || cidr.bits_ < 0 || cidr.bits_ > width)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text, "\": prefix length must be 0 to ", width));
  }
  return cidr;
}

bool Cidr::Contains(absl::string_view address) const {
  const std::string bytes = AddressBytes(address);
  if (bytes.size() != bytes_.size()) return false;
  const int whole = bits_ / 8, rest = bits_ % 8;
  if (std::memcmp(bytes.data(), bytes_.data(), whole) != 0) return false;
  if (rest == 0) return true;
  const unsigned char mask = static_cast<unsigned char>(0xff << (8 - rest));
  return ((bytes[whole] ^ bytes_[whole]) & mask) == 0;
}

}  // namespace posthouse::net
