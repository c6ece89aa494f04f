// Password hashes: makes Argon2id hashes, and checks them and the forms of other servers.
//
//   $argon2id$...  $argon2i$... $argon2d$...          PHC strings (libargon2)
//   $6$ $5$ $1$ $2a$ $2b$ $2y$ $y$ $7$ ... and DES     crypt(3) (libcrypt)
//   {ARGON2ID} {ARGON2I} {CRYPT} {SHA512-CRYPT} {SHA256-CRYPT} {MD5-CRYPT} {BLF-CRYPT}
//   {SSHA} {SSHA256} {SSHA512} {SMD5}                  digest(password salt) salt, base64
//   {SHA} {SHA1} {SHA256} {SHA512} {LDAP-MD5} {PLAIN-MD5}   unsalted, base64 or hex
//   {PLAIN} {CLEARTEXT} {CLEAR}                        the password itself
// A scheme name may end in .HEX or .B64 (Dovecot); names in any case.
//
// Comparison takes the same time for equal and unequal values. VerifyHash() and
// MakeHash() take milliseconds: call them on a pool. Threads: any; no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace posthouse::directory {

// The longest password: libcrypt's limit (CRYPT_MAX_PASSPHRASE_SIZE).
inline constexpr size_t kMaxPasswordBytes = 511;

// What one Argon2id check costs: memory in KiB, and passes over it.
struct HashCost {
  uint32_t memory_kib = 19456;
  uint32_t passes = 2;
  friend bool operator==(const HashCost&, const HashCost&) = default;
};

// kInvalidArgument: empty, too long, or with a NUL (RFC 4616 §2).
absl::Status CheckPassword(absl::string_view password);

// "$argon2id$v=19$m=19456,t=2,p=1$..." with 16 random bytes of salt.
absl::StatusOr<std::string> MakeHash(absl::string_view password, const HashCost& cost);

// Whether `password` matches `hash`. False for a hash of an unknown form.
bool VerifyHash(absl::string_view hash, absl::string_view password);

// OK for one of the forms above whose check is not too expensive: Argon2 up to 256 MiB and
// 64 passes, scrypt and yescrypt up to 256 MiB, bcrypt up to 2^16, others up to 5,000,000
// rounds. kInvalidArgument says what is allowed.
absl::Status CheckHash(absl::string_view hash);

// Whether a successful login should store a new hash: for all forms but Argon2id of at
// least `cost`.
bool NeedsRehash(absl::string_view hash, const HashCost& cost);

}  // namespace posthouse::directory
