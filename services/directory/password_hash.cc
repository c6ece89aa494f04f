#include "services/directory/password_hash.h"

#include <argon2.h>
#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "services/common/status/status.h"

namespace posthouse::directory {
namespace {

constexpr size_t kMaxHashBytes = 1024;
constexpr uint32_t kMaxArgonMemoryKib = 256 * 1024;
constexpr uint32_t kMaxArgonPasses = 64;
constexpr uint32_t kMaxArgonLanes = 16;
constexpr uint64_t kMaxRounds = 5'000'000;
constexpr int kMaxBcryptCost = 16;

enum class Kind { kArgon2, kCrypt, kDigest, kPlain, kUnknown };

struct DigestScheme {
  absl::string_view name;
  const EVP_MD* (*digest)();
  bool salted;
};

const DigestScheme kDigests[] = {
    {"SSHA", EVP_sha1, true},      {"SSHA256", EVP_sha256, true}, {"SSHA512", EVP_sha512, true},
    {"SMD5", EVP_md5, true},       {"SHA", EVP_sha1, false},      {"SHA1", EVP_sha1, false},
    {"SHA256", EVP_sha256, false}, {"SHA512", EVP_sha512, false}, {"PLAIN-MD5", EVP_md5, false},
    {"LDAP-MD5", EVP_md5, false},
};

struct Parsed {
  Kind kind = Kind::kUnknown;
  std::string body;  // without "{SCHEME}"
  const DigestScheme* digest = nullptr;
};

bool IsCryptScheme(absl::string_view scheme) {
  return scheme == "CRYPT" || scheme == "SHA512-CRYPT" || scheme == "SHA256-CRYPT" || scheme == "MD5-CRYPT" ||
         scheme == "BLF-CRYPT" || scheme == "DES-CRYPT" || scheme == "MD5";
}

Parsed Parse(absl::string_view hash) {
  Parsed parsed;
  parsed.body = std::string(hash);
  if (absl::StartsWith(hash, "$argon2")) {
    parsed.kind = Kind::kArgon2;
    return parsed;
  }
  if (!absl::StartsWith(hash, "{")) {
    parsed.kind = hash.empty() ? Kind::kUnknown : Kind::kCrypt;
    return parsed;
  }
  const size_t end = hash.find('}');
  if (end == absl::string_view::npos) return parsed;
  std::string scheme = absl::AsciiStrToUpper(hash.substr(1, end - 1));
  parsed.body = std::string(hash.substr(end + 1));
  if (absl::EndsWith(scheme, ".HEX") || absl::EndsWith(scheme, ".B64")) scheme.resize(scheme.size() - 4);
  if (absl::StartsWith(scheme, "ARGON2")) {
    parsed.kind = absl::StartsWith(parsed.body, "$argon2") ? Kind::kArgon2 : Kind::kUnknown;
  } else if (IsCryptScheme(scheme)) {
    // The body names the algorithm; libcrypt does not know Argon2 in {CRYPT}.
    parsed.kind = absl::StartsWith(parsed.body, "$argon2") ? Kind::kArgon2 : Kind::kCrypt;
  } else if (scheme == "PLAIN" || scheme == "CLEARTEXT" || scheme == "CLEAR") {
    parsed.kind = Kind::kPlain;
  } else {
    for (const DigestScheme& digest : kDigests) {
      if (digest.name != scheme) continue;
      parsed.kind = Kind::kDigest;
      parsed.digest = &digest;
    }
  }
  return parsed;
}

// Compares in a time that does not depend on where the bytes differ. Lengths of digests
// are public; plain passwords are compared by their digests, which hides their lengths.
bool EqualBytes(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string DigestOf(const EVP_MD* md, absl::string_view first, absl::string_view second) {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (context == nullptr || EVP_DigestInit_ex(context.get(), md, nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), first.data(), first.size()) != 1 ||
      EVP_DigestUpdate(context.get(), second.data(), second.size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), out, &size) != 1) {
    return "";
  }
  return std::string(reinterpret_cast<char*>(out), size);
}

std::optional<std::string> DecodeDigest(const std::string& body, size_t digest_size, bool salted) {
  const auto is_hex = [&body] {
    for (const char c : body) {
      if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return false;
    }
    return body.size() % 2 == 0;
  };
  // Hex when it has exactly the length of hex; no base64 digest has that length.
  if (is_hex() && (body.size() == digest_size * 2 || (salted && body.size() > digest_size * 2))) {
    return absl::HexStringToBytes(body);
  }
  std::string bytes;
  if (!absl::Base64Unescape(body, &bytes)) return std::nullopt;
  if (salted ? bytes.size() <= digest_size : bytes.size() != digest_size) return std::nullopt;
  return bytes;
}

bool VerifyDigest(const Parsed& parsed, absl::string_view password) {
  const EVP_MD* md = parsed.digest->digest();
  const auto size = static_cast<size_t>(EVP_MD_get_size(md));
  const std::optional<std::string> stored = DecodeDigest(parsed.body, size, parsed.digest->salted);
  if (!stored) return false;
  const absl::string_view view = *stored;
  return EqualBytes(DigestOf(md, password, view.substr(size)), view.substr(0, size));
}

bool VerifyArgon2(const std::string& hash, absl::string_view password) {
  argon2_type type = Argon2_id;
  if (absl::StartsWith(hash, "$argon2i$")) type = Argon2_i;
  if (absl::StartsWith(hash, "$argon2d$")) type = Argon2_d;
  return argon2_verify(hash.c_str(), password.data(), password.size(), type) == ARGON2_OK;
}

bool VerifyCrypt(const std::string& hash, absl::string_view password) {
  // 32 KiB: too large for a coroutine frame or a thread's stack.
  const auto data = std::make_unique<crypt_data>();
  std::memset(data.get(), 0, sizeof(*data));
  const std::string phrase(password);
  const char* made = crypt_rn(phrase.c_str(), hash.c_str(), data.get(), sizeof(*data));
  const bool equal = made != nullptr && made[0] != '*' && EqualBytes(made, hash);
  OPENSSL_cleanse(data.get(), sizeof(*data));
  return equal;
}

struct ArgonCost {
  uint32_t memory_kib = 0, passes = 0, lanes = 0;
};

// "$argon2id$v=19$m=19456,t=2,p=1$salt$hash"; v= may be absent (version 16).
std::optional<ArgonCost> ParseArgonCost(absl::string_view hash) {
  ArgonCost cost;
  for (const absl::string_view part : absl::StrSplit(hash, '$')) {
    if (!absl::StartsWith(part, "m=")) continue;
    for (const absl::string_view item : absl::StrSplit(part, ',')) {
      uint32_t value = 0;
      if (item.size() < 3 || !absl::SimpleAtoi(item.substr(2), &value)) return std::nullopt;
      if (absl::StartsWith(item, "m=")) cost.memory_kib = value;
      if (absl::StartsWith(item, "t=")) cost.passes = value;
      if (absl::StartsWith(item, "p=")) cost.lanes = value;
    }
  }
  if (cost.memory_kib == 0 || cost.passes == 0 || cost.lanes == 0) return std::nullopt;
  return cost;
}

// crypt(3)'s base64 digit: "." is 0, "z" is 63. -1: none.
int Digit(char c) {
  constexpr absl::string_view kDigits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const size_t at = kDigits.find(c);
  return at == absl::string_view::npos ? -1 : static_cast<int>(at);
}

// `count` digits from `at`, the lowest first; UINT64_MAX when there are fewer.
uint64_t Number(absl::string_view text, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    const int digit = at + i < text.size() ? Digit(text[at + i]) : -1;
    if (digit < 0) return UINT64_MAX;
    value |= static_cast<uint64_t>(digit) << (6 * i);
  }
  return value;
}

// scrypt and yescrypt need 128 * r * 2^log_n bytes.
bool Affordable(uint64_t log_n, uint64_t r, uint64_t p) {
  return log_n <= 24 && r <= 1024 && p >= 1 && p <= 16 &&
         (uint64_t{128} * r) << log_n <= uint64_t{kMaxArgonMemoryKib} * 1024;
}

// The largest cost of a check of this crypt(3) form; UINT64_MAX rounds: too much.
struct CryptCost {
  bool memory_ok = true;
  uint64_t rounds = 0;
};

CryptCost CostOf(const std::string& body) {
  CryptCost cost;
  const std::vector<std::string> parts = absl::StrSplit(body, '$');
  if (parts.size() > 2 && (parts[1] == "y" || parts[1] == "gy")) {
    // "j9T": the flavour, log2 N and r, each less one. Longer forms have p, t and more.
    const std::string& cost_text = parts[2];
    const uint64_t n = Number(cost_text, 1, 1), r = Number(cost_text, 2, 1);
    cost.memory_ok = cost_text.size() == 3 && n < 64 && r < 64 && Affordable(n + 1, r + 1, 1);
  } else if (parts.size() > 2 && parts[1] == "7") {
    const uint64_t n = Number(parts[2], 0, 1);  // log2 N, then r and p of five digits
    cost.memory_ok = n < 64 && Affordable(n, Number(parts[2], 1, 5), Number(parts[2], 6, 5));
  } else if (parts.size() > 2 && parts[1] == "sha1") {
    if (!absl::SimpleAtoi(parts[2], &cost.rounds)) cost.rounds = UINT64_MAX;
  } else if (absl::StartsWith(body, "_")) {
    cost.rounds = Number(body, 1, 4);  // BSDi's
  }
  for (const std::string& part : parts) {
    const size_t at = part.find("rounds=");  // "rounds=5000", SunMD5's "md5,rounds=5000"
    if (at == std::string::npos) continue;
    uint64_t rounds = 0;
    if (!absl::SimpleAtoi(part.substr(at + 7), &rounds)) rounds = UINT64_MAX;
    cost.rounds = std::max(cost.rounds, rounds);
  }
  return cost;
}

absl::Status CheckCrypt(const std::string& body) {
  const int check = crypt_checksalt(body.c_str());
  if (check == CRYPT_SALT_INVALID || check == CRYPT_SALT_METHOD_DISABLED) {
    return absl::InvalidArgumentError("password_hash: not a crypt(3) form that libcrypt knows");
  }
  const std::vector<std::string> parts = absl::StrSplit(body, '$');
  if (parts.size() > 2 && absl::StartsWith(parts[1], "2")) {
    int cost = 0;
    if (!absl::SimpleAtoi(parts[2], &cost) || cost > kMaxBcryptCost) {
      return absl::InvalidArgumentError(absl::StrCat("password_hash: bcrypt cost up to ", kMaxBcryptCost));
    }
  }
  const CryptCost cost = CostOf(body);
  if (!cost.memory_ok) {
    return absl::InvalidArgumentError(
        absl::StrCat("password_hash: scrypt and yescrypt with up to ", kMaxArgonMemoryKib / 1024, " MiB"));
  }
  if (cost.rounds > kMaxRounds) {
    return absl::InvalidArgumentError(absl::StrCat("password_hash: up to ", kMaxRounds, " rounds"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckPassword(absl::string_view password) {
  if (password.empty()) return absl::InvalidArgumentError("password: it is empty");
  if (password.size() > kMaxPasswordBytes) {
    return absl::InvalidArgumentError(absl::StrCat("password: at most ", kMaxPasswordBytes, " octets"));
  }
  if (password.find('\0') != absl::string_view::npos) return absl::InvalidArgumentError("password: it has a NUL");
  return absl::OkStatus();
}

absl::StatusOr<std::string> MakeHash(absl::string_view password, const HashCost& cost) {
  constexpr size_t kSaltBytes = 16;  // RFC 9106 §3.1
  constexpr size_t kHashBytes = 32;
  constexpr uint32_t kLanes = 1;
  unsigned char salt[kSaltBytes];
  if (RAND_bytes(salt, sizeof(salt)) != 1) return absl::InternalError("no randomness for a salt");
  std::string encoded(argon2_encodedlen(cost.passes, cost.memory_kib, kLanes, kSaltBytes, kHashBytes, Argon2_id), '\0');
  const int rc = argon2id_hash_encoded(cost.passes, cost.memory_kib, kLanes, password.data(), password.size(), salt,
                                       sizeof(salt), kHashBytes, encoded.data(), encoded.size());
  if (rc != ARGON2_OK) return absl::ResourceExhaustedError(absl::StrCat("Argon2id: ", argon2_error_message(rc)));
  encoded.resize(std::strlen(encoded.c_str()));
  return encoded;
}

bool VerifyHash(absl::string_view hash, absl::string_view password) {
  if (!CheckPassword(password).ok()) return false;
  const Parsed parsed = Parse(hash);
  switch (parsed.kind) {
    case Kind::kArgon2:
      return VerifyArgon2(parsed.body, password);
    case Kind::kCrypt:
      return VerifyCrypt(parsed.body, password);
    case Kind::kDigest:
      return VerifyDigest(parsed, password);
    case Kind::kPlain:
      return EqualBytes(DigestOf(EVP_sha256(), password, ""), DigestOf(EVP_sha256(), parsed.body, ""));
    case Kind::kUnknown:
      return false;
  }
  return false;
}

absl::Status CheckHash(absl::string_view hash) {
  if (hash.size() > kMaxHashBytes || hash.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError("password_hash: at most 1024 octets, without NUL");
  }
  const Parsed parsed = Parse(hash);
  switch (parsed.kind) {
    case Kind::kArgon2: {
      const std::optional<ArgonCost> cost = ParseArgonCost(parsed.body);
      if (!cost || cost->memory_kib > kMaxArgonMemoryKib || cost->passes > kMaxArgonPasses ||
          cost->lanes > kMaxArgonLanes) {
        return absl::InvalidArgumentError("password_hash: Argon2 with m up to 262144, t up to 64, p up to 16");
      }
      return absl::OkStatus();
    }
    case Kind::kCrypt:
      return CheckCrypt(parsed.body);
    case Kind::kDigest: {
      const auto size = static_cast<size_t>(EVP_MD_get_size(parsed.digest->digest()));
      if (DecodeDigest(parsed.body, size, parsed.digest->salted)) return absl::OkStatus();
      return absl::InvalidArgumentError("password_hash: the digest is neither base64 nor hex of the right length");
    }
    case Kind::kPlain:
      return CheckPassword(parsed.body);
    case Kind::kUnknown:
      break;
  }
  return absl::InvalidArgumentError(
      "password_hash: a crypt(3) form, $argon2..., or one of {ARGON2ID} {CRYPT} {SHA512-CRYPT} {SHA256-CRYPT} "
      "{BLF-CRYPT} {MD5-CRYPT} {SSHA} {SSHA256} {SSHA512} {SMD5} {SHA} {SHA256} {SHA512} {PLAIN-MD5} {LDAP-MD5} "
      "{PLAIN}");
}

bool NeedsRehash(absl::string_view hash, const HashCost& cost) {
  const Parsed parsed = Parse(hash);
  if (parsed.kind != Kind::kArgon2 || !absl::StartsWith(parsed.body, "$argon2id$")) return true;
  const std::optional<ArgonCost> made = ParseArgonCost(parsed.body);
  return !made || made->memory_kib < cost.memory_kib || made->passes < cost.passes;
}

}  // namespace posthouse::directory
