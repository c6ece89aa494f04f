#include "services/mail_formats/message/imap_render.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/mail_formats/message/address_list.h"
#include "services/mail_formats/message/fields.h"
#include "services/mail_formats/message/mime_value.h"

namespace posthouse::message {
namespace {

// Longer ones go as literals: some clients bound their quoted strings.
constexpr size_t kMaxQuoted = 4096;

// Dovecot's and UW's words for what an address lacks; NIL would mean a group.
constexpr absl::string_view kMissingMailbox = "MISSING_MAILBOX";
constexpr absl::string_view kMissingHost = "MISSING_DOMAIN";

void AppendNString(bool present, absl::string_view bytes, std::string* out) {
  if (present) {
    AppendImapString(bytes, out);
  } else {
    *out += "NIL";
  }
}

// A field's body as nstring: NIL when absent, "" when empty (RFC 9051 §7.5.2).
void AppendField(const Part& part, absl::string_view name, std::string* out) {
  const Field* field = part.Find(name);
  AppendNString(field != nullptr, field == nullptr ? "" : Unfold(field->value), out);
}

// env-from etc. = "(" 1*address ")" / nil; a field that occurs twice is one list.
std::vector<Address> FieldAddresses(const Part& part, absl::string_view name) {
  std::vector<Address> all;
  for (const Field& field : part.fields) {
    if (!absl::EqualsIgnoreCase(field.name, name)) continue;
    for (Address& address : ParseAddresses(field.value)) all.push_back(std::move(address));
  }
  return all;
}

// address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"
void AppendAddress(const Address& address, std::string* out) {
  *out += "(";
  switch (address.kind) {
    case Address::Kind::kGroupStart:  // [RFC5322] group syntax: host NIL
      *out += "NIL NIL ";
      AppendImapString(address.mailbox, out);
      *out += " NIL)";
      return;
    case Address::Kind::kGroupEnd:
      *out += "NIL NIL NIL NIL)";
      return;
    case Address::Kind::kMailbox:
      break;
  }
  AppendNString(address.has_name, address.name, out);
  *out += " ";
  AppendNString(!address.route.empty(), address.route, out);
  *out += " ";
  AppendImapString(address.mailbox.empty() ? kMissingMailbox : absl::string_view(address.mailbox), out);
  *out += " ";
  AppendImapString(address.host.empty() ? kMissingHost : absl::string_view(address.host), out);
  *out += ")";
}

void AppendAddresses(const std::vector<Address>& addresses, std::string* out) {
  if (addresses.empty()) {
    *out += "NIL";
    return;
  }
  *out += "(";
  for (const Address& address : addresses) AppendAddress(address, out);
  *out += ")";
}

void AppendEnvelope(const Part& part, std::string* out) {
  *out += "(";
  AppendField(part, "Date", out);
  *out += " ";
  AppendField(part, "Subject", out);
  *out += " ";
  const std::vector<Address> from = FieldAddresses(part, "From");
  AppendAddresses(from, out);
  // RFC 9051 §7.5.2: an absent or empty Sender or Reply-To is the From field.
  for (const absl::string_view name : {"Sender", "Reply-To"}) {
    *out += " ";
    const std::vector<Address> addresses = FieldAddresses(part, name);
    AppendAddresses(addresses.empty() ? from : addresses, out);
  }
  for (const absl::string_view name : {"To", "Cc", "Bcc"}) {
    *out += " ";
    AppendAddresses(FieldAddresses(part, name), out);
  }
  *out += " ";
  AppendField(part, "In-Reply-To", out);
  *out += " ";
  AppendField(part, "Message-ID", out);
  *out += ")";
}

// body-fld-param = "(" string SP string *(SP string SP string) ")" / nil
void AppendParams(const std::vector<Param>& sent, bool default_charset, std::string* out) {
  const std::vector<Param> params = JoinContinuations(sent);
  const bool has_charset = std::any_of(params.begin(), params.end(), [](const Param& p) {
    return absl::EqualsIgnoreCase(p.name, "charset") || absl::StartsWithIgnoreCase(p.name, "charset*");
  });
  default_charset = default_charset && !has_charset;
  if (params.empty() && !default_charset) {
    *out += "NIL";
    return;
  }
  absl::string_view separator = "(";
  for (const Param& param : params) {
    *out += std::string(std::exchange(separator, " "));
    AppendImapString(param.name, out);
    *out += " ";
    AppendImapString(param.value, out);
  }
  if (default_charset) absl::StrAppend(out, separator, "\"charset\" \"us-ascii\"");
  *out += ")";
}

// SP body-fld-dsp [SP body-fld-lang [SP body-fld-loc]]
void AppendDispositionAndRest(const Part& part, std::string* out) {
  *out += " ";
  const Field* disposition = part.Find("Content-Disposition");
  std::optional<MimeValue> value;
  if (disposition != nullptr) value = ParseDisposition(disposition->value);
  if (value) {
    *out += "(";
    AppendImapString(value->type, out);
    *out += " ";
    AppendParams(value->params, false, out);
    *out += ")";
  } else {
    *out += "NIL";
  }
  *out += " ";
  const Field* language = part.Find("Content-Language");
  std::vector<std::string> words;
  if (language != nullptr) words = ParseWordList(language->value);
  if (words.empty()) *out += "NIL";
  for (size_t i = 0; i < words.size(); ++i) {
    *out += i == 0 ? "(" : " ";
    AppendImapString(words[i], out);
  }
  if (!words.empty()) *out += ")";
  *out += " ";
  AppendField(part, "Content-Location", out);
}

class StructureWriter {
 public:
  StructureWriter(const Message& message, bool extended) : message_(message), extended_(extended) {}

  std::string Write() {
    AppendPart(message_.root());
    return std::move(out_);
  }

 private:
  // body = "(" (body-type-1part / body-type-mpart) ")"; the depth is bounded by the parser.
  void AppendPart(const Part& part) {
    out_ += "(";
    if (part.kind == Part::Kind::kMultipart) {
      AppendMultipart(part);
    } else {
      AppendSingle(part);
    }
    out_ += ")";
  }

  void AppendMultipart(const Part& part) {
    for (const uint32_t child : part.children) AppendPart(message_.parts[child]);
    if (part.children.empty()) {
      // A multipart must have a part; so it is shown an empty one, as Dovecot does.
      out_ += R"(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)";
      out_ += extended_ ? " NIL NIL NIL NIL)" : ")";
    }
    out_ += " ";
    AppendImapString(part.type.subtype, &out_);
    if (!extended_) return;
    out_ += " ";
    AppendParams(part.type.params, false, &out_);
    AppendDispositionAndRest(part, &out_);
  }

  void AppendSingle(const Part& part) {
    AppendImapString(part.type.type, &out_);
    out_ += " ";
    AppendImapString(part.type.subtype, &out_);
    out_ += " ";
    AppendParams(part.type.params, part.kind == Part::Kind::kText, &out_);
    out_ += " ";
    AppendField(part, "Content-ID", &out_);
    out_ += " ";
    AppendField(part, "Content-Description", &out_);
    out_ += " ";
    AppendEncoding(part);
    absl::StrAppend(&out_, " ", part.body_end - part.body_start);
    if (part.kind == Part::Kind::kMessage) {
      const Part& inner = message_.parts[part.children.at(0)];
      out_ += " ";
      AppendEnvelope(inner, &out_);
      out_ += " ";
      AppendPart(inner);
    }
    if (part.kind == Part::Kind::kMessage || part.kind == Part::Kind::kText) absl::StrAppend(&out_, " ", part.lines);
    if (!extended_) return;
    out_ += " ";
    AppendField(part, "Content-MD5", &out_);
    AppendDispositionAndRest(part, &out_);
  }

  void AppendEncoding(const Part& part) {
    const Field* field = part.Find("Content-Transfer-Encoding");
    std::string value;
    if (field != nullptr) {
      const std::vector<std::string> words = ParseWordList(field->value);
      if (!words.empty()) value = words[0];
    }
    // RFC 2045 §6.1: the default.
    AppendImapString(value.empty() ? absl::string_view("7bit") : absl::string_view(value), &out_);
  }

  const Message& message_;
  const bool extended_;
  std::string out_;
};

}  // namespace

// string = quoted / literal (RFC 9051 §4.3); 8-bit only in literals, so that it is
// right with and without UTF8=ACCEPT.
void AppendImapString(absl::string_view bytes, std::string* out) {
  const bool quotable = bytes.size() <= kMaxQuoted && std::all_of(bytes.begin(), bytes.end(), [](char c) {
                          return static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7f;
                        });
  if (quotable) {
    out->push_back('"');
    for (const char c : bytes) {
      if (c == '"' || c == '\\') out->push_back('\\');
      out->push_back(c);
    }
    out->push_back('"');
    return;
  }
  absl::StrAppend(out, "{", bytes.size(), "}\r\n");
  for (const char c : bytes) {
    // RFC 9051 §4.3.1: no NUL in a literal.
    out->push_back(c == '\0' ? '\x80' : (c == '\r' || c == '\n') ? ' ' : c);
  }
}

std::string RenderEnvelope(const Part& part) {
  std::string out;
  AppendEnvelope(part, &out);
  return out;
}

std::string RenderBody(const Message& message) { return StructureWriter(message, false).Write(); }

std::string RenderBodyStructure(const Message& message) { return StructureWriter(message, true).Write(); }

}  // namespace posthouse::message
