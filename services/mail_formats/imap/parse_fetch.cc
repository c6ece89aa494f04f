#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/mail_formats/imap/command.h"
#include "services/mail_formats/imap/response.h"

namespace posthouse::imap {
namespace {

constexpr size_t kMaxPartDepth = 100;
constexpr size_t kMaxSections = 200;

// header-list = "(" header-fld-name *(SP header-fld-name) ")"
void ParseHeaderFields(Scanner& scanner, FetchSection* section) {
  scanner.Space();
  scanner.Open();
  do {
    section->fields.push_back(scanner.AString());
  } while (scanner.More());
  scanner.Close();
}

// section-text = section-msgtext / "MIME"
void ParseSectionText(Scanner& scanner, FetchSection* section) {
  using Kind = FetchSection::Kind;
  const std::string name = scanner.ItemName();
  if (name == "HEADER") {
    section->kind = Kind::kHeader;
  } else if (name == "HEADER.FIELDS") {
    section->kind = Kind::kHeaderFields;
    ParseHeaderFields(scanner, section);
  } else if (name == "HEADER.FIELDS.NOT") {
    section->kind = Kind::kHeaderFieldsNot;
    ParseHeaderFields(scanner, section);
  } else if (name == "TEXT") {
    section->kind = Kind::kText;
  } else if (name == "MIME" && !section->part.empty()) {
    section->kind = Kind::kMime;
  } else {
    scanner.Fail("unknown section");
  }
}

// section-spec = section-msgtext / (section-part ["." section-text])
void ParseSectionSpec(Scanner& scanner, FetchSection* section) {
  while (scanner.Peek() >= '0' && scanner.Peek() <= '9') {
    section->part.push_back(scanner.NzNumber());
    if (section->part.size() > kMaxPartDepth) scanner.Fail("section too deep");
    if (!scanner.Skip('.')) return;
    if (scanner.Peek() == ']') scanner.Fail("section ends with a dot");
  }
  if (scanner.Peek() != ']') ParseSectionText(scanner, section);
}

std::string LabelOf(const FetchSection& section) {
  using Kind = FetchSection::Kind;
  std::string label = "BODY[";
  for (size_t i = 0; i < section.part.size(); ++i) absl::StrAppend(&label, i == 0 ? "" : ".", section.part[i]);
  static constexpr absl::string_view kNames[] = {"", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"};
  if (section.kind != Kind::kWhole) {
    absl::StrAppend(&label, section.part.empty() ? "" : ".", kNames[static_cast<int>(section.kind)]);
  }
  if (!section.fields.empty()) {
    label += " (";
    for (size_t i = 0; i < section.fields.size(); ++i) {
      if (i > 0) label += ' ';
      AppendAString(label, section.fields[i]);
    }
    label += ')';
  }
  label += ']';
  if (section.partial) absl::StrAppend(&label, "<", section.offset, ">");
  return label;
}

// "BODY" or "BODY.PEEK", "[" section-spec "]" ["<" number "." nz-number ">"]
void ParseBodySection(Scanner& scanner, bool peek, FetchArgs* args) {
  FetchSection section;
  section.peek = peek;
  scanner.Expect('[');
  ParseSectionSpec(scanner, &section);
  scanner.Expect(']');
  if (scanner.Skip('<')) {
    section.partial = true;
    section.offset = scanner.Number64();
    scanner.Expect('.');
    section.length = scanner.Number64();
    if (scanner.ok() && section.length == 0) scanner.Fail("zero length");
    scanner.Expect('>');
  }
  section.label = LabelOf(section);
  args->sections.push_back(std::move(section));
}

void AddRfc822(absl::string_view name, FetchSection::Kind kind, bool peek, FetchArgs* args) {
  FetchSection section;
  section.kind = kind;
  section.peek = peek;
  section.label = std::string(name);
  args->sections.push_back(std::move(section));
}

// Macros (RFC 9051 §6.4.5).
bool ExpandMacro(absl::string_view name, FetchArgs* args) {
  if (name != "ALL" && name != "FULL" && name != "FAST") return false;
  args->flags = args->internal_date = args->size = true;
  if (name != "FAST") args->envelope = true;
  if (name == "FULL") args->body = true;
  return true;
}

// fetch-att. Departs from RFC 9051 §6.4.5, where a macro stands alone: in a list it means its items.
void ParseItem(Scanner& scanner, FetchArgs* args) {
  const std::string name = scanner.ItemName();
  if (ExpandMacro(name, args)) return;
  if (name == "FLAGS") {
    args->flags = true;
  } else if (name == "UID") {
    args->uid = true;
  } else if (name == "ENVELOPE") {
    args->envelope = true;
  } else if (name == "INTERNALDATE") {
    args->internal_date = true;
  } else if (name == "BODYSTRUCTURE") {
    args->body_structure = true;
  } else if (name == "BODY" && scanner.Peek() != '[') {
    args->body = true;
  } else if (name == "BODY" || name == "BODY.PEEK") {
    ParseBodySection(scanner, name == "BODY.PEEK", args);
  } else if (name == "RFC822.SIZE") {
    args->size = true;
  } else if (name == "RFC822") {
    AddRfc822(name, FetchSection::Kind::kWhole, false, args);
  } else if (name == "RFC822.HEADER") {
    AddRfc822(name, FetchSection::Kind::kHeader, true, args);
  } else if (name == "RFC822.TEXT") {
    AddRfc822(name, FetchSection::Kind::kText, false, args);
  } else if (name == "MODSEQ") {
    args->modseq = true;
  } else if (name == "EMAILID") {
    args->email_id = true;
  } else if (name == "THREADID") {
    args->thread_id = true;
  } else if (name == "SAVEDATE") {
    args->save_date = true;
  } else if (name == "PREVIEW") {
    args->preview = true;
    // RFC 8970 §3.1: ["(" "LAZY" ")"]; ours are made at delivery.
    if (scanner.Rest().size() > 1 && absl::StartsWithIgnoreCase(scanner.Rest(), " (LAZY)")) {
      scanner.Space();
      scanner.Expect('(');
      scanner.Atom();
      scanner.Expect(')');
    }
  } else {
    scanner.Fail("unknown FETCH item");
  }
  if (args->sections.size() > kMaxSections) scanner.Fail("too many sections");
}

// fetch-modifiers = SP "(" modifier *(SP modifier) ")" (RFC 4466 §2.6)
void ParseModifiers(Scanner& scanner, FetchArgs* args) {
  scanner.Open();
  do {
    const std::string name = scanner.UpperAtom();
    if (name == "CHANGEDSINCE") {
      scanner.Space();
      args->changed_since = Modseq(scanner.Number64());
    } else if (name == "VANISHED") {
      args->vanished = true;
    } else {
      scanner.Fail("unknown FETCH modifier");
    }
  } while (scanner.More());
  scanner.Close();
}

}  // namespace

// fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att /
//         "(" fetch-att *(SP fetch-att) ")") [fetch-modifiers]
FetchArgs ParseFetch(Scanner& scanner) {
  FetchArgs args;
  scanner.Space();
  args.set = scanner.Set();
  scanner.Space();
  if (scanner.SkipOpen()) {
    do {
      ParseItem(scanner, &args);
    } while (scanner.More());
    scanner.Close();
  } else {
    ParseItem(scanner, &args);
  }
  if (scanner.More()) ParseModifiers(scanner, &args);
  return args;
}

}  // namespace posthouse::imap
