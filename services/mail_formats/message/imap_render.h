// ENVELOPE, BODY and BODYSTRUCTURE of a parsed message (RFC 9051 §7.5.2, RFC 3501
// §7.4.2): rendered once at delivery, sent unchanged.
//
// The bytes are always valid IMAP: strings are quoted when they are plain ASCII,
// else literals ({n} CRLF); NUL becomes 0x80, CR and LF a blank. Encoded words stay
// as sent; of RFC 2231 parameters the continuations are joined (JoinContinuations). No trailing CRLF.
//
// Length: bounded by the parser's limits, not by a store row's 64 KiB: a message
// to thousands, or of thousands of parts, renders longer.
//
// Threads: stateless.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "services/mail_formats/message/parser.h"

namespace posthouse::message {

// "(date subject from sender reply-to to cc bcc in-reply-to message-id)" of
// `part`, which is the message or the child of a message/rfc822 part.
std::string RenderEnvelope(const Part& part);

std::string RenderBody(const Message& message);           // BODY: without extension data
std::string RenderBodyStructure(const Message& message);  // BODYSTRUCTURE: with it

// A quoted string, or a literal where a quoted string is not allowed.
void AppendImapString(absl::string_view bytes, std::string* out);

}  // namespace posthouse::message
