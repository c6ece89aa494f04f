#include "services/queue/spool/destination.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace posthouse::queue {
namespace {
constexpr absl::string_view kLocalPrefix = "local/";
}  // namespace

Destination Destination::FromString(absl::string_view text) {
  if (text.empty()) return Destination();
  if (absl::ConsumePrefix(&text, kLocalPrefix)) return Local(Home(std::string(text)));
  return Remote(std::string(text));
}

std::string Destination::ToString() const { return kind_ == Kind::kLocal ? absl::StrCat(kLocalPrefix, name_) : name_; }

}  // namespace posthouse::queue
