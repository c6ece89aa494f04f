// IMAP commands as structs: the grammar of RFC 9051 §9, RFC 3501 and the extensions
// named below. No I/O, no policy: the gateway decides which commands it supports.
//
// Mailbox names are as on the wire (mailbox_name.h decodes them).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/mail_formats/imap/scanner.h"
#include "services/mail_formats/imap/sequence_set.h"

namespace posthouse::imap {

// AUTHENTICATE (RFC 9051 §6.2.2).
struct AuthenticateArgs {
  std::string mechanism;                        // upper case
  std::optional<std::string> initial_response;  // base64; "=" is the empty response (RFC 4959)
};
// LOGIN (RFC 9051 §6.2.3).
struct LoginArgs {
  std::string username;
  std::string password;
};
// RFC 2971. Values that are NIL are left out.
struct IdArgs {
  std::vector<std::pair<std::string, std::string>> fields;
};
// ENABLE (RFC 5161).
struct EnableArgs {
  std::vector<std::string> capabilities;  // upper case
};

// RFC 7162 §3.2.5: (QRESYNC (uidvalidity modseq [known-uids [(seqs uids)]]))
struct QresyncArgs {
  UidValidity uid_validity;
  Modseq modseq;
  std::optional<SequenceSet> known_uids;
  SequenceSet match_sequences;
  SequenceSet match_uids;
};
// SELECT, EXAMINE with CONDSTORE and QRESYNC (RFC 7162).
struct SelectArgs {
  std::string mailbox;
  bool condstore = false;
  std::optional<QresyncArgs> qresync;
};

struct MailboxArgs {  // DELETE, SUBSCRIBE, UNSUBSCRIBE
  std::string mailbox;
};
// CREATE (RFC 9051 §6.3.4).
struct CreateArgs {
  std::string mailbox;
  std::vector<std::string> special_use;  // "\Sent" (RFC 6154 §3)
};
// RENAME (RFC 9051 §6.3.6).
struct RenameArgs {
  std::string from;
  std::string to;
};

// STATUS items.
enum StatusItem : uint32_t {
  kStatusMessages = 1,
  kStatusRecent = 2,
  kStatusUidNext = 4,
  kStatusUidValidity = 8,
  kStatusUnseen = 16,
  kStatusDeleted = 32,
  kStatusSize = 64,
  kStatusHighestModseq = 128,
  kStatusAppendLimit = 256,
  kStatusMailboxId = 512,
};
// STATUS; `items` is a set of StatusItem.
struct StatusArgs {
  std::string mailbox;
  uint32_t items = 0;
};

// LIST with its extensions: RFC 5258, 5819 (STATUS), 6154 (SPECIAL-USE). Also LSUB.
struct ListArgs {
  std::string reference;
  std::vector<std::string> patterns;
  bool extended = false;  // any extended syntax: answers are extended too
  bool select_subscribed = false;
  bool select_remote = false;
  bool select_recursive_match = false;
  bool select_special_use = false;
  bool return_subscribed = false;
  bool return_children = false;
  bool return_special_use = false;
  uint32_t return_status = 0;
};

// APPEND (RFC 9051 §6.3.12).
struct AppendArgs {
  std::string mailbox;
  FlagSet flags;
  std::optional<DateTime> date;
  uint64_t message_bytes = 0;  // of the literal that follows
};

struct UidSetArgs {  // UID EXPUNGE
  SequenceSet set;
};
struct CopyArgs {  // COPY, MOVE
  SequenceSet set;
  std::string mailbox;
};

// STORE (RFC 9051 §6.4.6), with UNCHANGEDSINCE (RFC 7162 §3.1.3).
struct StoreArgs {
  enum class Mode { kReplace, kAdd, kRemove };
  SequenceSet set;
  std::optional<Modseq> unchanged_since;
  Mode mode = Mode::kReplace;
  bool silent = false;
  FlagSet flags;
};

// One BODY[...] or RFC822... of a FETCH.
struct FetchSection {
  enum class Kind { kWhole, kHeader, kHeaderFields, kHeaderFieldsNot, kText, kMime };
  std::vector<uint32_t> part;
  Kind kind = Kind::kWhole;
  std::vector<std::string> fields;
  bool peek = false;
  bool partial = false;
  uint64_t offset = 0;
  uint64_t length = 0;
  // As the response names it: "BODY[1.MIME]<0>", "RFC822.HEADER".
  std::string label;
};
// FETCH (RFC 9051 §6.4.5). Macros are expanded.
struct FetchArgs {
  SequenceSet set;
  bool uid = false;
  bool flags = false;
  bool internal_date = false;
  bool size = false;
  bool envelope = false;
  bool body = false;
  bool body_structure = false;
  bool modseq = false;
  bool email_id = false;
  bool thread_id = false;
  bool save_date = false;
  bool preview = false;
  std::vector<FetchSection> sections;
  std::optional<Modseq> changed_since;  // RFC 7162 §3.1.4.1
  bool vanished = false;                // RFC 7162 §3.2.6
};

// SEARCH program.
struct SearchKey {
  enum class Kind {
    kAll,
    kAnd,
    kOr,
    kNot,
    kSequence,
    kUid,
    kFlag,  // `number`: the SystemFlag
    kRecent,
    kKeyword,  // `text`
    kHeader,   // `field` contains `text`
    kBody,
    kText,
    kBefore,  // dates: `number` days since 1970
    kOn,
    kSince,
    kSentBefore,
    kSentOn,
    kSentSince,
    kSavedBefore,
    kSavedOn,
    kSavedSince,
    kLarger,
    kSmaller,
    kModseq,  // `number`
    kOlder,   // seconds (RFC 5032)
    kYounger,
    kEmailId,
    kThreadId,
  };
  Kind kind = Kind::kAll;
  std::vector<SearchKey> keys;
  SequenceSet set;
  std::string field;
  bool addresses = false;  // kHeader: FROM, TO, CC, BCC also match what ENVELOPE shows
  std::string text;
  int64_t number = 0;
};
// SEARCH (RFC 9051 §6.4.4).
struct SearchArgs {
  // RETURN (...): RFC 4731; kept apart from SEARCH without it, which answers "* SEARCH".
  bool extended = false;
  bool return_min = false;
  bool return_max = false;
  bool return_all = false;
  bool return_count = false;
  bool return_save = false;
  std::string charset;  // upper case; "" when not given
  SearchKey key;        // kAnd of what was written
  bool uses_modseq = false;
};

using Arguments =
    std::variant<std::monostate, AuthenticateArgs, LoginArgs, IdArgs, EnableArgs, SelectArgs, MailboxArgs, CreateArgs,
                 RenameArgs, StatusArgs, ListArgs, AppendArgs, UidSetArgs, CopyArgs, StoreArgs, FetchArgs, SearchArgs>;

// One command line with its literals.
struct Command {
  std::string tag;
  std::string name;  // upper case; "UID FETCH" and the like are one name
  Arguments args;    // monostate: none, or the command is not known
};

// The tag alone, for an error reply; "*" when there is none.
std::string TagOf(absl::string_view text);

// Tag and name; `rest` is left behind them. Errors are for a tagged BAD.
absl::StatusOr<Command> ParseCommandName(absl::string_view text, size_t* arguments_start);

// Parses a whole command. kInvalidArgument: the arguments are wrong (BAD);
// kUnimplemented: no such command (BAD). Error messages may be shown to the client.
absl::StatusOr<Command> ParseCommand(absl::string_view text);

// For the parts that have their own file.
FetchArgs ParseFetch(Scanner& scanner);
SearchArgs ParseSearch(Scanner& scanner);
ListArgs ParseList(Scanner& scanner);
ListArgs ParseLsub(Scanner& scanner);
uint32_t ParseStatusItems(Scanner& scanner);  // "(" items ")"

}  // namespace posthouse::imap
