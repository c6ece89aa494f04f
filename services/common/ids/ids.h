// The ids that services exchange, one type each, so that the compiler refuses a UID
// where a MODSEQ belongs and a folder where an account does.
//
//   Uid, UidValidity, Modseq        numbers of RFC 9051 §2.3.1.1 and RFC 7162 §3.1
//   TenantId, AccountId, FolderId   printable, opaque, never used twice; "" is none
//   Home                            the name of a mail store ("" is the only one)
//   ObjectId                        16 bytes: one accepted message or one stored body
//
// Values; construction is explicit. Protos and rows keep plain fields: convert at the
// edge with value(). Threads: any.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace posthouse {

// A number that is only compared and counted on; 0 is none.
template <typename Tag, typename Int>
class NumberId {
 public:
  constexpr NumberId() = default;  // 0: none
  constexpr explicit NumberId(Int value) : value_(value) {}
  constexpr Int value() const { return value_; }
  constexpr bool empty() const { return value_ == 0; }
  constexpr NumberId Next() const { return NumberId(value_ + 1); }
  friend constexpr auto operator<=>(NumberId, NumberId) = default;
  template <typename H>
  friend H AbslHashValue(H h, NumberId id) {
    return H::combine(std::move(h), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, NumberId id) { return out << +id.value_; }

 private:
  Int value_ = 0;
};

using Uid = NumberId<struct UidTag, uint32_t>;
using UidValidity = NumberId<struct UidValidityTag, uint32_t>;
using Modseq = NumberId<struct ModseqTag, uint64_t>;

// A text that is only compared; "" is none.
template <typename Tag>
class TextId {
 public:
  TextId() = default;
  explicit TextId(std::string value) : value_(std::move(value)) {}
  const std::string& value() const { return value_; }
  bool empty() const { return value_.empty(); }
  friend bool operator==(const TextId&, const TextId&) = default;
  friend auto operator<=>(const TextId& a, const TextId& b) { return a.value_.compare(b.value_) <=> 0; }
  template <typename H>
  friend H AbslHashValue(H h, const TextId& id) {
    return H::combine(std::move(h), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, const TextId& id) { return out << id.value_; }

 private:
  std::string value_;
};

using TenantId = TextId<struct TenantIdTag>;
using AccountId = TextId<struct AccountIdTag>;
using FolderId = TextId<struct FolderIdTag>;
using Home = TextId<struct HomeTag>;

// 6 bytes of milliseconds since 1970, then 10 random ones, so ids sort by age. A queue
// id and the name of a stored body are two spellings of the same 16 bytes:
//   Text()  26 characters of Crockford's base 32 (digits and upper case letters without
//           I, L, O, U): the queue id in replies, logs and keys
//   Hex()   32 lower-case digits: the body's name in a BlobStore
// Both spellings sort as the bytes do.
class ObjectId {
 public:
  static constexpr size_t kBytes = 16;
  static constexpr size_t kTextBytes = 26;
  static constexpr size_t kHexBytes = 32;

  ObjectId() = default;  // all zeros: none
  // The randomness comes from the system (getrandom); nobody can predict it.
  static ObjectId New(int64_t unix_millis);
  // The smallest id of that millisecond: where a scan by age begins.
  static ObjectId FirstAt(int64_t unix_millis);
  // nullopt: not exactly 16 bytes, or not that spelling.
  static std::optional<ObjectId> FromBytes(absl::string_view bytes);
  static std::optional<ObjectId> FromText(absl::string_view text);
  static std::optional<ObjectId> FromHex(absl::string_view hex);

  std::string Bytes() const { return std::string(bytes_.begin(), bytes_.end()); }
  std::string Text() const;
  std::string Hex() const;
  int64_t unix_millis() const;
  bool empty() const { return *this == ObjectId(); }

  friend bool operator==(const ObjectId&, const ObjectId&) = default;
  friend auto operator<=>(const ObjectId&, const ObjectId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const ObjectId& id) {
    return H::combine(std::move(h), id.bytes_);
  }
  friend std::ostream& operator<<(std::ostream& out, const ObjectId& id) { return out << id.Hex(); }

 private:
  std::array<unsigned char, kBytes> bytes_{};
};

// Bytes that nobody can predict (getrandom).
std::string RandomBytes(size_t n);

}  // namespace posthouse
