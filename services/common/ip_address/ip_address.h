// IP addresses as text: their bytes, and the networks they belong to. Threads: stateless.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace posthouse {

// The 4 or 16 bytes of "192.0.2.1" or "2001:db8::1", so that two spellings of one address
// are equal. IPv4-mapped IPv6 (::ffff:192.0.2.1) is the IPv4 address. "" when `text` is no
// address; one with a zone (fe80::1%eth0) is none.
std::string IpBytes(absl::string_view text);

inline bool IsIpAddress(absl::string_view text) { return !IpBytes(text).empty(); }
// 127.0.0.0/8, ::1, also mapped; false for other text.
bool IsLoopback(absl::string_view text);

// The network of an address as text: "192.0.2.0/24", "2001:db8:0:1::/64". `v4_bits` and `v6_bits` are the lengths of
// its prefix. A text that is no address stays as it is.
std::string NetworkOf(absl::string_view text, int v4_bits, int v6_bits);
// Stands for one client in limits: the IPv4 address, or the /64 of an IPv6 address, since a customer has all of it.
inline std::string ClientOf(absl::string_view text) { return NetworkOf(text, 32, 64); }

// Whether a host anywhere in the Internet may have the address: not loopback, private,
// link-local, shared (RFC 6598), multicast or reserved (RFC 6890), nor an IPv6 address that
// carries such an IPv4 address. The documentation networks count as global. False for a
// text that is no address.
bool IsGlobal(absl::string_view text);

}  // namespace posthouse
