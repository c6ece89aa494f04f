#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "services/mail_formats/sasl/exchange.h"
#include "services/mail_formats/sasl/mechanism.h"

namespace posthouse::sasl {
namespace {

using Strings = std::vector<std::string>;

// "? bytes", "ok user/password" or the name of the error.
std::string Text(const Step& step) {
  if (const auto* challenge = std::get_if<Challenge>(&step)) return "? " + challenge->bytes;
  if (const auto* credentials = std::get_if<Credentials>(&step)) {
    return "ok " + credentials->username + "/" + credentials->password;
  }
  return absl::StatusCodeToString(std::get<absl::Status>(step).code());
}

// Each message as C-escaped octets.
std::string Converse(const std::string& name, std::optional<std::string> initial, const Strings& responses = {}) {
  const auto bytes = [](const std::string& escaped) {
    std::string out;
    EXPECT_TRUE(absl::CUnescape(escaped, &out));
    return out;
  };
  const std::unique_ptr<Mechanism> mechanism = NewMechanism(name);
  if (mechanism == nullptr) return "unknown";
  Strings steps;
  if (initial.has_value()) initial = bytes(*initial);
  steps.push_back(Text(mechanism->Start(initial)));
  for (const std::string& response : responses) steps.push_back(Text(mechanism->Next(bytes(response))));
  return absl::StrJoin(steps, ", ");
}

// RFC 4616 §2
TEST(PlainTest, MessagesFollowTheGrammar) {
  struct Case {
    const char* message;
    const char* step;
  };
  const Case cases[] = {
      {"\\0joe@a.example\\0se cret", "ok joe@a.example/se cret"},
      {"\\0j\\303\\266rg\\0p\\303\\244ss", "ok j\xC3\xB6rg/p\xC3\xA4ss"},
      {"", "INVALID_ARGUMENT"},
      {"joe", "INVALID_ARGUMENT"},
      {"\\0joe", "INVALID_ARGUMENT"},
      {"\\0\\0secret", "INVALID_ARGUMENT"},  // authcid = 1*SAFE
      {"\\0joe\\0", "INVALID_ARGUMENT"},     // passwd = 1*SAFE
      {"\\0joe\\0x\\0", "INVALID_ARGUMENT"},
      {"\\0joe\\0x\\0y", "INVALID_ARGUMENT"},
      {"\\0j\\366rg\\0secret", "UNAUTHENTICATED"},  // Latin-1
      {"\\0joe\\0p\\344ss", "UNAUTHENTICATED"},
      // The authorisation identity.
      {"joe\\0joe\\0secret", "ok joe/secret"},
      {"Joe@A.example\\0joe@a.example\\0secret", "ok joe@a.example/secret"},
      {"ann\\0joe\\0secret", "PERMISSION_DENIED"},
      {"joe@a.example\\0joe\\0secret", "PERMISSION_DENIED"},
      {"\\377\\0joe\\0secret", "PERMISSION_DENIED"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Converse("PLAIN", c.message), c.step) << c.message;
    EXPECT_EQ(Converse("plain", std::nullopt, {c.message}), "? , " + std::string(c.step)) << c.message;
  }
}

// draft-murchison-sasl-login
TEST(LoginTest, AsksTwice) {
  EXPECT_EQ(Converse("LOGIN", std::nullopt, {"joe", "secret"}), "? Username:, ? Password:, ok joe/secret");
  EXPECT_EQ(Converse("LOGIN", "joe", {"secret"}), "? Password:, ok joe/secret");
  EXPECT_EQ(Converse("LOGIN", "joe", {""}), "? Password:, ok joe/");
  EXPECT_EQ(Converse("LOGIN", "", {"secret"}), "? Password:, INVALID_ARGUMENT");
  EXPECT_EQ(Converse("LOGIN", "j\\366rg", {"secret"}), "? Password:, UNAUTHENTICATED");
}

TEST(MechanismTest, NamesAreWhatIsOffered) {
  EXPECT_EQ(absl::StrJoin(MechanismNames(), " "), "PLAIN LOGIN");
  for (const absl::string_view name : MechanismNames()) EXPECT_NE(NewMechanism(name), nullptr);
  EXPECT_EQ(NewMechanism("CRAM-MD5"), nullptr);
  EXPECT_FALSE(Exchange::Begin("").has_value());
}

// RFC 4954 §4, RFC 4959 §3, RFC 5034 §4; base64 is that of RFC 4648 §3.2, §3.3, §3.5.
TEST(ExchangeTest, LinesAreStrictBase64) {
  struct Case {
    const char* mechanism;
    std::optional<std::string> initial;
    Strings lines;
    const char* steps;
  };
  const Case cases[] = {
      {"PLAIN", "AGpvZQB4", {}, "ok joe/x"},
      {"PLAIN", std::nullopt, {"AGpvZQB4"}, "? , ok joe/x"},
      {"LOGIN", std::nullopt, {"am9l", "eA=="}, "? VXNlcm5hbWU6, ? UGFzc3dvcmQ6, ok joe/x"},
      {"LOGIN", "am9l", {"eA=="}, "? UGFzc3dvcmQ6, ok joe/x"},
      {"LOGIN", "am9l", {""}, "? UGFzc3dvcmQ6, ok joe/"},  // an empty line is an empty response
      {"PLAIN", "=", {}, "INVALID_ARGUMENT"},              // empty, and so not a PLAIN message
      {"LOGIN", "=", {"eA=="}, "? UGFzc3dvcmQ6, INVALID_ARGUMENT"},
      {"PLAIN", std::nullopt, {"*"}, "? , CANCELLED"},
      {"LOGIN", "am9l", {"*"}, "? UGFzc3dvcmQ6, CANCELLED"},
      {"LOGIN", std::nullopt, {"="}, "? VXNlcm5hbWU6, INVALID_ARGUMENT"},    // "=" is for initial responses only
      {"LOGIN", std::nullopt, {"am9"}, "? VXNlcm5hbWU6, INVALID_ARGUMENT"},  // no padding
      {"LOGIN", "am9l", {"eA"}, "? UGFzc3dvcmQ6, INVALID_ARGUMENT"},         // no padding
      {"LOGIN", "am9l", {"eB=="}, "? UGFzc3dvcmQ6, INVALID_ARGUMENT"},       // pad bits that are not zero
      {"LOGIN", "am9l", {"eA ="}, "? UGFzc3dvcmQ6, INVALID_ARGUMENT"},       // a space
      {"LOGIN", "am9l", {"e-__"}, "? UGFzc3dvcmQ6, INVALID_ARGUMENT"},       // the URL alphabet
      {"LOGIN",
       "am9l",
       {"eA=="
        "eA=="},
       "? UGFzc3dvcmQ6, INVALID_ARGUMENT"},  // padding inside
      {"PLAIN", "!!!", {}, "INVALID_ARGUMENT"},
  };
  for (const Case& c : cases) {
    std::optional<Exchange> exchange = Exchange::Begin(c.mechanism);
    ASSERT_TRUE(exchange.has_value());
    Strings steps = {Text(exchange->Start(c.initial))};
    for (const std::string& line : c.lines) steps.push_back(Text(exchange->OnLine(line)));
    EXPECT_EQ(absl::StrJoin(steps, ", "), c.steps);
  }
}

}  // namespace
}  // namespace posthouse::sasl
