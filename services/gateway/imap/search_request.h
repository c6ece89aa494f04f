// SEARCH: the request to the mailbox service from a parsed command, and the response to the client.
// No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/gateway/imap/selected.h"
#include "services/mail_formats/imap/command.h"

namespace posthouse::mailbox::v1 {
class SearchKey;
}

namespace posthouse::gateway {

// Sequence numbers become UIDs of `view`. `saved` is the result that "$" stands for (RFC 5182).
// kInvalidArgument: a text that is not UTF-8.
absl::Status TranslateSearch(const imap::SearchKey& key, const Selected& view, const UidSet& saved,
                             mail::SearchKey* out);

// True for US-ASCII and UTF-8 (RFC 9051 §6.4.4).
bool IsKnownCharset(absl::string_view charset);

// Writes the response for `found`, which has UIDs or sequence numbers. Call Next() until it returns
// false: the list of a plain SEARCH may be long and is written in pieces.
class SearchAnswer {
 public:
  SearchAnswer(const imap::SearchArgs& args, std::string tag, bool uid, UidSet found, Modseq modseq);
  bool Next(std::string& out, size_t limit);

 private:
  void Extended(std::string& out) const;

  const bool extended_;
  const imap::SearchArgs args_;
  const std::string tag_;
  const bool uid_;
  const UidSet found_;
  const Modseq modseq_;
  size_t range_ = 0;
  uint32_t number_ = 0;
  bool started_ = false;
};

}  // namespace posthouse::gateway
