// Summary: everything that the mailbox derives from a message when it stores it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/mail_formats/message/date.h"
#include "services/mail_formats/message/parser.h"

namespace posthouse::message {

struct Summary {
  std::string envelope;  // imap_render.h
  std::string body_structure;
  std::string body;
  std::string part_table;    // PartTable::Serialize()
  std::string preview;       // RFC 8970: at most 200 characters of UTF-8
  std::string message_id;    // without angle brackets; empty: none
  std::string thread_id;     // ThreadId()
  std::string base_subject;  // RFC 5256 §2.1, UTF-8
  std::optional<Date> date;  // the Date field
};

// Summarises the whole message. Never fails: what cannot be read is empty.
Summary Summarise(const Message& message);

// The first 200 characters of the text, blanks collapsed, tags removed from HTML
// (RFC 8970 §3.1). Empty when there is no text.
std::string Preview(const Message& message);

// The id that messages of one conversation share: a hash of the first id of References,
// else of In-Reply-To, else of the message's own id; 20 characters, "T" and
// base32. Empty: the message has none of them (RFC 8474 §5.2: a server may say NIL).
std::string ThreadId(const Part& root);

}  // namespace posthouse::message
