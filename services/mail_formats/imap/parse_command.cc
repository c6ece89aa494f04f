#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/common/status/status.h"
#include "services/mail_formats/imap/command.h"

namespace posthouse::imap {
namespace {

Arguments ParseNone(Scanner&) { return std::monostate(); }

// RFC 9051 §9: authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp]
// Departs from it: auth-type is an atom, and some clients quote it.
Arguments ParseAuthenticate(Scanner& scanner) {
  AuthenticateArgs args;
  scanner.Space();
  args.mechanism = scanner.Peek() == '"' ? absl::AsciiStrToUpper(scanner.String()) : scanner.UpperAtom();
  if (scanner.More()) {
    args.initial_response = std::string(absl::StripTrailingAsciiWhitespace(scanner.Rest()));
    while (!scanner.AtEnd() && scanner.ok()) scanner.Skip(scanner.Peek());
  }
  return args;
}

Arguments ParseLogin(Scanner& scanner) {
  LoginArgs args;
  scanner.Space();
  args.username = scanner.AString();
  scanner.Space();
  args.password = scanner.AString();
  return args;
}

// RFC 2971 §4: id = "ID" SPACE id_params_list; at most 30 fields, 30 and 1024 octets.
Arguments ParseId(Scanner& scanner) {
  IdArgs args;
  scanner.Space();
  if (scanner.SkipWord("NIL")) return args;
  scanner.Open();
  if (scanner.SkipClose()) return args;
  int fields = 0;
  do {
    std::string name = scanner.String();
    scanner.Space();
    std::string value;
    if (scanner.NString(&value)) {
      args.fields.emplace_back(name.substr(0, 30), value.substr(0, 1024));
    }
    if (++fields > 30) scanner.Fail("too many ID fields");
  } while (scanner.More());
  scanner.Close();
  return args;
}

Arguments ParseEnable(Scanner& scanner) {
  EnableArgs args;
  scanner.Space();
  do {
    args.capabilities.push_back(scanner.UpperAtom());
  } while (scanner.More());
  return args;
}

QresyncArgs ParseQresync(Scanner& scanner) {
  QresyncArgs args;
  scanner.Space();
  scanner.Open();
  args.uid_validity = UidValidity(scanner.NzNumber());
  scanner.Space();
  args.modseq = Modseq(scanner.Number64());
  bool more = scanner.More();
  if (more && scanner.Peek() != '(') {
    args.known_uids = scanner.Set();
    more = scanner.More();
  }
  if (more) {
    scanner.Open();
    args.match_sequences = scanner.Set();
    scanner.Space();
    args.match_uids = scanner.Set();
    scanner.Close();
  }
  scanner.Close();
  return args;
}

// select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"] (RFC 4466 §2.4)
Arguments ParseSelect(Scanner& scanner) {
  SelectArgs args;
  scanner.Space();
  args.mailbox = scanner.AString();
  if (!scanner.More()) return args;
  scanner.Open();
  do {
    if (scanner.SkipWord("CONDSTORE")) {
      args.condstore = true;
    } else if (scanner.SkipWord("QRESYNC")) {
      args.qresync = ParseQresync(scanner);
    } else {
      scanner.Fail("unknown SELECT parameter");
    }
  } while (scanner.More());
  scanner.Close();
  return args;
}

Arguments ParseMailbox(Scanner& scanner) {
  MailboxArgs args;
  scanner.Space();
  args.mailbox = scanner.AString();
  return args;
}

// create = "CREATE" SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"]
Arguments ParseCreate(Scanner& scanner) {
  CreateArgs args;
  scanner.Space();
  args.mailbox = scanner.AString();
  if (!scanner.More()) return args;
  scanner.Open();
  if (!scanner.SkipWord("USE")) scanner.Fail("unknown CREATE parameter");
  scanner.Space();
  scanner.Open();
  if (!scanner.SkipClose()) {
    do {
      scanner.Expect('\\');
      args.special_use.push_back(absl::StrCat("\\", scanner.Atom()));
    } while (scanner.More());
    scanner.Close();
  }
  scanner.Close();
  return args;
}

Arguments ParseRename(Scanner& scanner) {
  RenameArgs args;
  scanner.Space();
  args.from = scanner.AString();
  scanner.Space();
  args.to = scanner.AString();
  return args;
}

Arguments ParseStatus(Scanner& scanner) {
  StatusArgs args;
  scanner.Space();
  args.mailbox = scanner.AString();
  scanner.Space();
  args.items = ParseStatusItems(scanner);
  return args;
}

// append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal
Arguments ParseAppend(Scanner& scanner) {
  AppendArgs args;
  scanner.Space();
  args.mailbox = scanner.AString();
  scanner.Space();
  if (scanner.Peek() == '(') {
    args.flags = scanner.FlagList();
    scanner.Space();
  }
  if (scanner.Peek() == '"') {
    args.date = scanner.QuotedDateTime();
    scanner.Space();
  }
  args.message_bytes = scanner.LiteralHeader();
  return args;
}

Arguments ParseUidSet(Scanner& scanner) {
  UidSetArgs args;
  scanner.Space();
  args.set = scanner.Set();
  return args;
}

Arguments ParseCopy(Scanner& scanner) {
  CopyArgs args;
  scanner.Space();
  args.set = scanner.Set();
  scanner.Space();
  args.mailbox = scanner.AString();
  return args;
}

// store = "STORE" SP sequence-set [SP "(" "UNCHANGEDSINCE" SP number ")"] SP store-att-flags
Arguments ParseStore(Scanner& scanner) {
  StoreArgs args;
  scanner.Space();
  args.set = scanner.Set();
  scanner.Space();
  if (scanner.SkipOpen()) {
    if (!scanner.SkipWord("UNCHANGEDSINCE")) scanner.Fail("unknown STORE modifier");
    scanner.Space();
    args.unchanged_since = Modseq(scanner.Number64());
    scanner.Close();
    scanner.Space();
  }
  if (scanner.Skip('+')) {
    args.mode = StoreArgs::Mode::kAdd;
  } else if (scanner.Skip('-')) {
    args.mode = StoreArgs::Mode::kRemove;
  }
  const std::string item = scanner.ItemName();
  args.silent = item == "FLAGS.SILENT";
  if (!args.silent && item != "FLAGS") scanner.Fail("expected FLAGS");
  scanner.Space();
  if (scanner.Peek() == '(') {
    args.flags = scanner.FlagList();
  } else {
    do {
      scanner.Flag(&args.flags);
    } while (scanner.More());
  }
  // RFC 3501 §9: flag "does not include \Recent". Taken as no flag, it would clear all others.
  if (args.flags.recent) scanner.Fail("\\Recent cannot be stored");
  return args;
}

using Parse = Arguments (*)(Scanner&);

const absl::flat_hash_map<std::string, Parse>& Parsers() {
  static const auto* const parsers = new absl::flat_hash_map<std::string, Parse>{
      {"CAPABILITY", ParseNone},
      {"NOOP", ParseNone},
      {"LOGOUT", ParseNone},
      {"STARTTLS", ParseNone},
      {"CHECK", ParseNone},
      {"CLOSE", ParseNone},
      {"UNSELECT", ParseNone},
      {"EXPUNGE", ParseNone},
      {"IDLE", ParseNone},
      {"NAMESPACE", ParseNone},
      {"ID", ParseId},
      {"AUTHENTICATE", ParseAuthenticate},
      {"LOGIN", ParseLogin},
      {"ENABLE", ParseEnable},
      {"SELECT", ParseSelect},
      {"EXAMINE", ParseSelect},
      {"CREATE", ParseCreate},
      {"DELETE", ParseMailbox},
      {"RENAME", ParseRename},
      {"SUBSCRIBE", ParseMailbox},
      {"UNSUBSCRIBE", ParseMailbox},
      {"LIST", [](Scanner& s) -> Arguments { return ParseList(s); }},
      {"LSUB", [](Scanner& s) -> Arguments { return ParseLsub(s); }},
      {"STATUS", ParseStatus},
      {"APPEND", ParseAppend},
      {"SEARCH", [](Scanner& s) -> Arguments { return ParseSearch(s); }},
      {"UID SEARCH", [](Scanner& s) -> Arguments { return ParseSearch(s); }},
      {"FETCH", [](Scanner& s) -> Arguments { return ParseFetch(s); }},
      {"UID FETCH", [](Scanner& s) -> Arguments { return ParseFetch(s); }},
      {"STORE", ParseStore},
      {"UID STORE", ParseStore},
      {"COPY", ParseCopy},
      {"UID COPY", ParseCopy},
      {"MOVE", ParseCopy},
      {"UID MOVE", ParseCopy},
      {"UID EXPUNGE", ParseUidSet},
  };
  return *parsers;
}

}  // namespace

std::string TagOf(absl::string_view text) {
  Scanner scanner(text);
  std::string tag = scanner.Tag();
  return scanner.ok() ? tag : "*";
}

absl::StatusOr<Command> ParseCommandName(absl::string_view text, size_t* arguments_start) {
  Scanner scanner(text);
  Command command;
  command.tag = scanner.Tag();
  scanner.Expect(' ');
  command.name = scanner.UpperAtom();
  if (command.name == "UID" && scanner.More()) absl::StrAppend(&command.name, " ", scanner.UpperAtom());
  PH_RETURN_IF_ERROR(scanner.status());
  *arguments_start = text.size() - scanner.Rest().size();
  return command;
}

absl::StatusOr<Command> ParseCommand(absl::string_view text) {
  size_t start = 0;
  PH_ASSIGN_OR_RETURN(Command command, ParseCommandName(text, &start));
  const auto parse = Parsers().find(command.name);
  if (parse == Parsers().end()) return absl::UnimplementedError("unknown command");
  Scanner scanner(text.substr(start));
  command.args = parse->second(scanner);
  scanner.End();
  PH_RETURN_IF_ERROR(scanner.status());
  return command;
}

uint32_t ParseStatusItems(Scanner& scanner) {
  static const auto* const items = new absl::flat_hash_map<std::string, uint32_t>{
      {"MESSAGES", kStatusMessages},
      {"RECENT", kStatusRecent},
      {"UIDNEXT", kStatusUidNext},
      {"UIDVALIDITY", kStatusUidValidity},
      {"UNSEEN", kStatusUnseen},
      {"DELETED", kStatusDeleted},
      {"SIZE", kStatusSize},
      {"HIGHESTMODSEQ", kStatusHighestModseq},
      {"APPENDLIMIT", kStatusAppendLimit},
      {"MAILBOXID", kStatusMailboxId},
  };
  uint32_t bits = 0;
  scanner.Open();
  do {
    const auto item = items->find(scanner.UpperAtom());
    if (item == items->end()) {
      scanner.Fail("unknown STATUS item");
    } else {
      bits |= item->second;
    }
  } while (scanner.More());
  scanner.Close();
  return bits;
}

}  // namespace posthouse::imap
