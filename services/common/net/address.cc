#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/common/ip_address/ip_address.h"
#include "services/common/net/connection.h"

namespace posthouse::net {

std::string Endpoint::ToString() const {
  return absl::StrContains(address, ":") ? absl::StrCat("[", address, "]:", port) : absl::StrCat(address, ":", port);
}

absl::StatusOr<Cidr> Cidr::Parse(absl::string_view text) {
  const size_t slash = text.find('/');
  Cidr cidr;
  cidr.bytes_ = IpBytes(text.substr(0, slash));
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
  const std::string bytes = IpBytes(address);
  if (bytes.size() != bytes_.size()) return false;
  const int whole = bits_ / 8, rest = bits_ % 8;
  if (std::memcmp(bytes.data(), bytes_.data(), whole) != 0) return false;
  if (rest == 0) return true;
  const unsigned char mask = static_cast<unsigned char>(0xff << (8 - rest));
  return ((bytes[whole] ^ bytes_[whole]) & mask) == 0;
}

}  // namespace posthouse::net
