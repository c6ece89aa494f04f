// Pieces of IMAP responses, RFC 9051 §9: appended to a buffer that the session
// sends. Threads: stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/mail_formats/imap/scanner.h"

namespace posthouse::imap {

// True when `value` can stand in double quotes: short, 7-bit, no CR, LF or NUL.
bool IsQuotable(absl::string_view value);

// string = quoted / literal, whichever `value` needs. NUL bytes become "?": no
// string may hold them.
void AppendString(std::string& out, absl::string_view value);
// As an atom where that is possible.
void AppendAString(std::string& out, absl::string_view value);

// A decoded, UTF-8 mailbox name: quoted modified UTF-7 (RFC 3501 §5.1.3), or quoted
// UTF-8 once the client has enabled it (RFC 6855, IMAP4rev2).
void AppendMailbox(std::string& out, absl::string_view name, bool utf8 = false);

// "(\Seen $Label)"; `extra` are further names, e.g. "\Recent".
void AppendFlagList(std::string& out, uint32_t system, const std::vector<absl::string_view>& extra);

// DQUOTE "17-Jul-1996 02:44:25 -0700" DQUOTE
void AppendDateTime(std::string& out, const DateTime& date);

// Text of a resp-text: control characters and 8-bit bytes become "?".
void AppendText(std::string& out, absl::string_view text);

}  // namespace posthouse::imap
