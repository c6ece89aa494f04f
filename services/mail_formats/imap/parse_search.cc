#include "absl/container/flat_hash_map.h"
#include "services/mail_formats/imap/command.h"

namespace posthouse::imap {
namespace {

using Kind = SearchKey::Kind;

constexpr int kMaxDepth = 32;
constexpr size_t kMaxKeys = 4096;

struct KeyShape {
  enum class Argument { kNone, kText, kAtom, kDate, kNumber, kSeconds };
  Kind kind;
  Argument argument = Argument::kNone;
  int64_t number = 0;      // the flag
  bool negated = false;    // UNSEEN is NOT SEEN
  const char* field = "";  // FROM is HEADER From
  bool addresses = false;
};

const absl::flat_hash_map<std::string, KeyShape>& Shapes() {
  using A = KeyShape::Argument;
  static const auto* const shapes = new absl::flat_hash_map<std::string, KeyShape>{
      {"ALL", {Kind::kAll}},
      {"SAVEDATESUPPORTED", {Kind::kAll}},  // every mailbox has save dates (RFC 8514 §4.3)
      {"ANSWERED", {Kind::kFlag, A::kNone, kAnswered}},
      {"DELETED", {Kind::kFlag, A::kNone, kDeleted}},
      {"DRAFT", {Kind::kFlag, A::kNone, kDraft}},
      {"FLAGGED", {Kind::kFlag, A::kNone, kFlagged}},
      {"SEEN", {Kind::kFlag, A::kNone, kSeen}},
      {"UNANSWERED", {Kind::kFlag, A::kNone, kAnswered, true}},
      {"UNDELETED", {Kind::kFlag, A::kNone, kDeleted, true}},
      {"UNDRAFT", {Kind::kFlag, A::kNone, kDraft, true}},
      {"UNFLAGGED", {Kind::kFlag, A::kNone, kFlagged, true}},
      {"UNSEEN", {Kind::kFlag, A::kNone, kSeen, true}},
      {"RECENT", {Kind::kRecent}},
      {"OLD", {Kind::kRecent, A::kNone, 0, true}},
      {"KEYWORD", {Kind::kKeyword, A::kAtom}},
      {"UNKEYWORD", {Kind::kKeyword, A::kAtom, 0, true}},
      {"BCC", {Kind::kHeader, A::kText, 0, false, "Bcc", true}},
      {"CC", {Kind::kHeader, A::kText, 0, false, "Cc", true}},
      {"FROM", {Kind::kHeader, A::kText, 0, false, "From", true}},
      {"SUBJECT", {Kind::kHeader, A::kText, 0, false, "Subject"}},
      {"TO", {Kind::kHeader, A::kText, 0, false, "To", true}},
      {"BODY", {Kind::kBody, A::kText}},
      {"TEXT", {Kind::kText, A::kText}},
      {"BEFORE", {Kind::kBefore, A::kDate}},
      {"ON", {Kind::kOn, A::kDate}},
      {"SINCE", {Kind::kSince, A::kDate}},
      {"SENTBEFORE", {Kind::kSentBefore, A::kDate}},
      {"SENTON", {Kind::kSentOn, A::kDate}},
      {"SENTSINCE", {Kind::kSentSince, A::kDate}},
      {"SAVEDBEFORE", {Kind::kSavedBefore, A::kDate}},
      {"SAVEDON", {Kind::kSavedOn, A::kDate}},
      {"SAVEDSINCE", {Kind::kSavedSince, A::kDate}},
      {"LARGER", {Kind::kLarger, A::kNumber}},
      {"SMALLER", {Kind::kSmaller, A::kNumber}},
      {"OLDER", {Kind::kOlder, A::kSeconds}},
      {"YOUNGER", {Kind::kYounger, A::kSeconds}},
      {"EMAILID", {Kind::kEmailId, A::kAtom}},
      {"THREADID", {Kind::kThreadId, A::kAtom}},
  };
  return *shapes;
}

class Program {
 public:
  Program(Scanner& scanner, SearchArgs& args) : scanner_(scanner), args_(args) {}

  SearchKey Key(int depth) {
    SearchKey key;
    if (depth > kMaxDepth) scanner_.Fail("SEARCH nested too deep");
    if (++keys_ > kMaxKeys) scanner_.Fail("too many SEARCH keys");
    if (!scanner_.ok()) return key;
    const char next = scanner_.Peek();
    if (scanner_.SkipOpen()) {
      key = And(depth + 1);
      scanner_.Close();
    } else if (next == '*' || next == '$' || (next >= '0' && next <= '9')) {
      key.kind = Kind::kSequence;
      key.set = scanner_.Set();
    } else {
      key = Named(scanner_.UpperAtom(), depth);
    }
    return key;
  }

  // search-key *(SP search-key)
  SearchKey And(int depth) {
    SearchKey all;
    all.kind = Kind::kAnd;
    do {
      all.keys.push_back(Key(depth));
    } while (scanner_.More());
    return all;
  }

 private:
  SearchKey Named(const std::string& name, int depth) {
    SearchKey key;
    if (name == "NOT") {
      scanner_.Space();
      return Not(Key(depth + 1));
    }
    if (name == "OR") {
      key.kind = Kind::kOr;
      for (int i = 0; i < 2; ++i) {
        scanner_.Space();
        key.keys.push_back(Key(depth + 1));
      }
      return key;
    }
    if (name == "UID") {
      key.kind = Kind::kUid;
      scanner_.Space();
      key.set = scanner_.Set();
      return key;
    }
    if (name == "HEADER") {
      key.kind = Kind::kHeader;
      scanner_.Space();
      key.field = scanner_.AString();
      scanner_.Space();
      key.text = scanner_.AString();
      return key;
    }
    if (name == "NEW") {  // RECENT UNSEEN
      key.kind = Kind::kAnd;
      key.keys.resize(2);
      key.keys[0].kind = Kind::kRecent;
      SearchKey seen;
      seen.kind = Kind::kFlag;
      seen.number = kSeen;
      key.keys[1] = Not(std::move(seen));
      return key;
    }
    if (name == "MODSEQ") return Modseq();
    return Shaped(name);
  }

  SearchKey Shaped(const std::string& name) {
    SearchKey key;
    const auto shape = Shapes().find(name);
    if (shape == Shapes().end()) {
      scanner_.Fail("unknown SEARCH key");
      return key;
    }
    key.kind = shape->second.kind;
    key.number = shape->second.number;
    key.field = shape->second.field;
    key.addresses = shape->second.addresses;
    using A = KeyShape::Argument;
    const A argument = shape->second.argument;
    if (argument != A::kNone) scanner_.Space();
    if (argument == A::kText) key.text = scanner_.AString();
    if (argument == A::kAtom) key.text = scanner_.Atom();
    if (argument == A::kDate) key.number = scanner_.Date();
    if (argument == A::kNumber) key.number = static_cast<int64_t>(scanner_.Number64());
    if (argument == A::kSeconds) key.number = scanner_.NzNumber();
    return shape->second.negated ? Not(std::move(key)) : key;
  }

  // RFC 7162 §3.1.5: "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer.
  // Per-flag mod-sequences do not exist here; the entry is parsed and ignored (§3.1.5).
  SearchKey Modseq() {
    SearchKey key;
    key.kind = Kind::kModseq;
    scanner_.Space();
    if (scanner_.Peek() == '"') {
      scanner_.String();
      scanner_.Space();
      const std::string type = scanner_.UpperAtom();
      if (type != "PRIV" && type != "SHARED" && type != "ALL") scanner_.Fail("unknown entry type");
      scanner_.Space();
    }
    key.number = static_cast<int64_t>(scanner_.Number64());
    args_.uses_modseq = true;
    return key;
  }

  static SearchKey Not(SearchKey inner) {
    SearchKey key;
    key.kind = Kind::kNot;
    key.keys.push_back(std::move(inner));
    return key;
  }

  Scanner& scanner_;
  SearchArgs& args_;
  size_t keys_ = 0;
};

// search-return-opts = SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"
void ParseReturn(Scanner& scanner, SearchArgs* args) {
  args->extended = true;
  scanner.Space();
  scanner.Open();
  bool any = false;
  if (!scanner.SkipClose()) {
    do {
      const std::string option = scanner.UpperAtom();
      any = any || option != "SAVE";
      if (option == "MIN") {
        args->return_min = true;
      } else if (option == "MAX") {
        args->return_max = true;
      } else if (option == "ALL") {
        args->return_all = true;
      } else if (option == "COUNT") {
        args->return_count = true;
      } else if (option == "SAVE") {
        args->return_save = true;
      } else {
        scanner.Fail("unknown SEARCH return option");
      }
    } while (scanner.More());
    scanner.Close();
  }
  // RFC 4731 §3.1: an empty list means ALL; SAVE alone returns nothing (RFC 5182 §2.1).
  if (!any && !args->return_save) args->return_all = true;
  scanner.Space();
}

}  // namespace

// search = "SEARCH" [search-return-opts] SP ["CHARSET" SP charset SP] search-key *(SP search-key)
SearchArgs ParseSearch(Scanner& scanner) {
  SearchArgs args;
  scanner.Space();
  if (scanner.SkipWord("RETURN")) ParseReturn(scanner, &args);
  if (scanner.SkipWord("CHARSET")) {
    scanner.Space();
    const std::string charset = scanner.AString();
    for (const char c : charset) args.charset.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c);
    scanner.Space();
  }
  args.key = Program(scanner, args).And(0);
  return args;
}

}  // namespace posthouse::imap
