#include "services/mail_formats/smtp/capabilities.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace posthouse::smtp {

// ehlo-ok-rsp (RFC 5321 §4.1.1.1): each line after the first is a keyword and its parameters.
Capabilities ParseCapabilities(const std::vector<std::string>& lines) {
  Capabilities capabilities;
  capabilities.esmtp = true;
  for (size_t i = 1; i < lines.size(); ++i) {
    // "AUTH=LOGIN" is how some old servers write "AUTH LOGIN".
    const std::vector<std::string> words = absl::StrSplit(lines[i], absl::ByAnyChar(" \t="), absl::SkipEmpty());
    if (words.empty()) continue;
    const std::string keyword = absl::AsciiStrToUpper(words[0]);
    if (keyword == "PIPELINING") capabilities.pipelining = true;
    if (keyword == "8BITMIME") capabilities.eight_bit_mime = true;
    if (keyword == "SMTPUTF8") capabilities.smtputf8 = true;
    if (keyword == "DSN") capabilities.dsn = true;
    if (keyword == "STARTTLS") capabilities.starttls = true;
    if (keyword == "ENHANCEDSTATUSCODES") capabilities.enhanced_status_codes = true;
    if (keyword == "CHUNKING") capabilities.chunking = true;
    if (keyword == "SIZE") {
      uint64_t size = 0;
      if (words.size() > 1 && !absl::SimpleAtoi(words[1], &size)) size = 0;
      capabilities.size = size;
    }
    if (keyword == "AUTH") {
      for (size_t w = 1; w < words.size(); ++w) capabilities.auth.push_back(absl::AsciiStrToUpper(words[w]));
    }
  }
  return capabilities;
}

}  // namespace posthouse::smtp
