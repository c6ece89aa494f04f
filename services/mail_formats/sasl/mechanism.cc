#include "services/mail_formats/sasl/mechanism.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "services/common/utf8/utf8.h"

namespace posthouse::sasl {
namespace {

Step Checked(absl::string_view authzid, Credentials credentials) {
  if (credentials.username.empty()) return absl::InvalidArgumentError("the user name is empty");
  if (!IsUtf8(credentials.username) || !IsUtf8(credentials.password)) {
    return absl::UnauthenticatedError("the user name or the password is not valid UTF-8");
  }
  if (!authzid.empty() && !absl::EqualsIgnoreCase(authzid, credentials.username)) {
    return absl::PermissionDeniedError("the authorization identity is not the user name");
  }
  return credentials;
}

// PLAIN (RFC 4616). The client speaks first: without an initial response the server
// sends an empty challenge (RFC 4422 §5).
class Plain : public Mechanism {
 public:
  Step Start(std::optional<absl::string_view> initial) override {
    if (!initial.has_value()) return Challenge();
    return Next(*initial);
  }

  // message = [authzid] UTF8NUL authcid UTF8NUL passwd; authcid = passwd = 1*SAFE
  Step Next(absl::string_view response) override {
    const std::vector<absl::string_view> fields = absl::StrSplit(response, '\0');
    if (fields.size() != 3 || fields[2].empty()) return absl::InvalidArgumentError("not a PLAIN message");
    return Checked(fields[0], {std::string(fields[1]), std::string(fields[2])});
  }
};

// LOGIN, which no RFC defines (draft-murchison-sasl-login): two questions. An initial
// response answers the first.
class Login : public Mechanism {
 public:
  Step Start(std::optional<absl::string_view> initial) override {
    if (!initial.has_value()) return Challenge{"Username:"};
    return Next(*initial);
  }

  Step Next(absl::string_view response) override {
    if (!username_.has_value()) {
      username_ = std::string(response);
      return Challenge{"Password:"};
    }
    return Checked("", {*std::move(username_), std::string(response)});
  }

 private:
  std::optional<std::string> username_;
};

template <typename M>
std::unique_ptr<Mechanism> New() {
  return std::make_unique<M>();
}

constexpr absl::string_view kNames[] = {"PLAIN", "LOGIN"};
constexpr std::unique_ptr<Mechanism> (*kFactories[])() = {New<Plain>, New<Login>};
static_assert(std::size(kNames) == std::size(kFactories));

}  // namespace

absl::Span<const absl::string_view> MechanismNames() { return kNames; }

std::unique_ptr<Mechanism> NewMechanism(absl::string_view name) {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (absl::EqualsIgnoreCase(name, kNames[i])) return kFactories[i]();
  }
  return nullptr;
}

}  // namespace posthouse::sasl
