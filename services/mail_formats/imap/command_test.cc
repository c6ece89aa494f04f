#include "services/mail_formats/imap/command.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace posthouse::imap {
namespace {

template <typename T>
T Args(absl::string_view text) {
  const absl::StatusOr<Command> command = ParseCommand(text);
  EXPECT_TRUE(command.ok()) << text << ": " << command.status();
  if (!command.ok() || !std::holds_alternative<T>(command->args)) return T{};
  return std::get<T>(command->args);
}

TEST(CommandTest, WhatIsWrongIsRefused) {
  for (const char* text : {
           "",
           " ",
           "a",
           "a ",
           "a  NOOP",
           "a+ NOOP",
           "a NOOP x",
           " a NOOP",
           "a LOGIN",
           "a LOGIN x",
           "a LOGIN x y z",
           "a LOGIN \"x y",
           "a LOGIN \"x\\",
           "a LOGIN {3}\r\nab",
           "a LOGIN {3}ab",
           "a LOGIN (x y",
           "a SELECT",
           "a SELECT x (FOO)",
           "a SELECT x (QRESYNC 1 2)",
           "a SELECT x (QRESYNC (0 2))",
           "a FETCH",
           "a FETCH 1",
           "a FETCH 0 FLAGS",
           "a FETCH 1, FLAGS",
           "a FETCH 1: FLAGS",
           "a FETCH 4294967296 FLAGS",
           "a FETCH 1 ()",
           "a FETCH 1 (FLAGS",
           "a FETCH 1 FOO",
           "a FETCH 1 BODY[",
           "a FETCH 1 BODY[1.]",
           "a FETCH 1 BODY[MIME]",
           "a FETCH 1 BODY[0]",
           "a FETCH 1 BODY[]<1>",
           "a FETCH 1 BODY[]<1.0>",
           "a FETCH 1 BODY[HEADER.FIELDS]",
           "a FETCH 1 BODY[HEADER.FIELDS ()]",
           "a FETCH 1 FLAGS (FOO 1)",
           "a FETCH 1 ( )",
           "a FETCH 1 (FLAGS)UID",
           "a STORE 1 FLAGS",
           "a STORE 1 FOO (\\Seen)",
           "a STORE 1 FLAGS (\\Foo)",
           "a STORE 1 FLAGS (\\Recent)",  // RFC 3501 §9: flag "does not include \Recent"
           "a STORE 1 FLAGS (\\Seen \\Recent)",
           "a STORE 1 +FLAGS.SILENT \\RECENT",
           "a UID STORE 1 -FLAGS (\\recent)",
           "a STORE 1 FLAGS (a]b)",
           "a SEARCH",
           "a SEARCH FOO",
           "a SEARCH OR SEEN",
           "a SEARCH (SEEN",
           "a SEARCH NOT",
           "a SEARCH BEFORE 32-Jan-2020",
           "a SEARCH BEFORE 31-Foo-2020",
           "a SEARCH BEFORE 30-Feb-2020",
           "a SEARCH RETURN (FOO) ALL",
           "a SEARCH OLDER 0",
           "a LIST \"\"",
           "a LIST \"\" ()",
           "a LIST (RECURSIVEMATCH) \"\" *",
           "a LIST \"\" * RETURN (FOO)",
           "a STATUS x",
           "a STATUS x ()",
           "a STATUS x (FOO)",
           "a APPEND x",
           "a APPEND x \"foo\" {3}\r\n",
           "a APPEND x {3}",
           "a APPEND x ~{3}\r\n",
           "a APPEND x (\\Seen \"x\" {3}\r\n",
           "a ID",
           "a ID (x)",
           "a ID (\"x\")",
           "a ENABLE",
           "a CREATE x (USE \\Sent)",
           "a COPY x y",
           "a UID",
           "a UID FOO 1",
           "a UID EXPUNGE",
           "a AUTHENTICATE",
           "a AUTHENTICATE \"PLAIN",
           "a APPEND x (\\Seen) \"17-Jul-1996  02:44:25 -0700\" {3}\r\n",
       }) {
    EXPECT_FALSE(ParseCommand(text).ok()) << text;
  }
}

// Clients send them, and other servers take them.
TEST(CommandTest, BlanksMayBeDoubledAndTrail) {
  for (const char* text : {
           "a NOOP  ",
           "a LOGIN  joe   secret ",
           "a SELECT  x  ( CONDSTORE )  ",
           "a SELECT x (QRESYNC ( 1  2  3:4  ( 5 8 ) ) )",
           "a CREATE x  ( USE  ( \\Sent ) )",
           "a STATUS m1  (MESSAGES)",
           "a STATUS x ( MESSAGES  UNSEEN ) ",
           "a LIST  ( SUBSCRIBED )  \"\"  ( % * )  RETURN  ( CHILDREN  STATUS ( MESSAGES ) )",
           "a LIST \"\" ( % )",
           "a LSUB \"\" \"%\" ",
           "a APPEND  x  ( \\Seen )  {3}\r\n",
           "a STORE 1  FLAGS (\\Seen)",
           "a STORE 1 ( UNCHANGEDSINCE  7 )  +FLAGS  \\Seen  \\Draft ",
           "a FETCH 1  ( FLAGS  BODY[HEADER.FIELDS  ( From  To )] )  ( CHANGEDSINCE  5 )",
           "a UID  FETCH 1 FLAGS ",
           "a SEARCH OR ( FROM o ) ( TO  x  SEEN )  ",
           "a SEARCH  RETURN  ( MIN  MAX )  CHARSET  UTF-8  ALL",
           "a SEARCH RETURN ( ) ALL",
           "a ID  ( \"name\"  \"x\" )",
           "a ID ( )",
           "a ENABLE  CONDSTORE  QRESYNC ",
           "a COPY 1  x ",
           "a AUTHENTICATE  PLAIN ",
           "a AUTHENTICATE PLAIN  AGpvZQ== ",
       }) {
    EXPECT_TRUE(ParseCommand(text).ok()) << text << ": " << ParseCommand(text).status();
  }
  EXPECT_EQ(Args<AuthenticateArgs>("a AUTHENTICATE PLAIN ").initial_response, std::nullopt);
  EXPECT_EQ(Args<AuthenticateArgs>("a AUTHENTICATE PLAIN  AGpvZQ== ").initial_response, "AGpvZQ==");
  EXPECT_FALSE(Args<ListArgs>("a LIST \"\" % ").extended);
}

TEST(CommandTest, UnknownCommandsAreTold) {
  EXPECT_EQ(ParseCommand("a FROBNICATE x").status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(TagOf("tag.1 FROB"), "tag.1");
  EXPECT_EQ(TagOf("(x"), "*");
  EXPECT_EQ(ParseCommand("a noop")->name, "NOOP");
  EXPECT_EQ(ParseCommand("a uid Fetch 1 flags")->name, "UID FETCH");
}

TEST(CommandTest, StringsInAllForms) {
  for (const char* text : {"a LOGIN joe secret", "a LOGIN \"joe\" \"secret\"", "a LOGIN {3}\r\njoe {6+}\r\nsecret",
                           "a login joe \"se\\cret\""}) {
    const LoginArgs args = Args<LoginArgs>(text);
    EXPECT_EQ(args.username, "joe");
    EXPECT_EQ(args.password, "secret") << text;
  }
  EXPECT_EQ(Args<LoginArgs>("a LOGIN a]b \"\"").username, "a]b");
  EXPECT_EQ(Args<LoginArgs>("a LOGIN x {5}\r\na\r\nb\"").password, "a\r\nb\"");
}

TEST(CommandTest, AuthenticateWithAndWithoutInitialResponse) {
  EXPECT_EQ(Args<AuthenticateArgs>("a AUTHENTICATE plain").mechanism, "PLAIN");
  EXPECT_EQ(Args<AuthenticateArgs>("a AUTHENTICATE \"plain\" =").mechanism, "PLAIN");
  EXPECT_EQ(Args<AuthenticateArgs>("a AUTHENTICATE plain").initial_response, std::nullopt);
  EXPECT_EQ(Args<AuthenticateArgs>("a AUTHENTICATE PLAIN AGpvZQ==").initial_response, "AGpvZQ==");
  EXPECT_EQ(Args<AuthenticateArgs>("a AUTHENTICATE PLAIN =").initial_response, "=");
}

TEST(CommandTest, IdAndEnable) {
  const IdArgs id = Args<IdArgs>("a ID (\"name\" \"Outlook\" \"os\" NIL)");
  ASSERT_EQ(id.fields.size(), 1u);
  EXPECT_EQ(id.fields[0].second, "Outlook");
  EXPECT_TRUE(Args<IdArgs>("a ID NIL").fields.empty());
  EXPECT_TRUE(Args<IdArgs>("a ID ()").fields.empty());
  EXPECT_EQ(Args<EnableArgs>("a ENABLE condstore Qresync").capabilities,
            (std::vector<std::string>{"CONDSTORE", "QRESYNC"}));
}

// RFC 7162 §3.2.5
TEST(CommandTest, SelectParameters) {
  EXPECT_FALSE(Args<SelectArgs>("a SELECT INBOX").condstore);
  EXPECT_TRUE(Args<SelectArgs>("a EXAMINE INBOX (CONDSTORE)").condstore);
  const SelectArgs args = Args<SelectArgs>("a SELECT x (QRESYNC (67890007 90060115194045000 41,43:211 (5,9 8,20)))");
  ASSERT_TRUE(args.qresync.has_value());
  EXPECT_EQ(args.qresync->uid_validity, UidValidity(67890007));
  EXPECT_EQ(args.qresync->modseq, Modseq(90060115194045000u));
  EXPECT_EQ(args.qresync->known_uids->ranges.size(), 2u);
  EXPECT_EQ(args.qresync->match_uids.ranges[1].first, 20u);
  const SelectArgs no_known = Args<SelectArgs>("a SELECT x (QRESYNC (1 2 (5 8)))");
  EXPECT_FALSE(no_known.qresync->known_uids.has_value());
  EXPECT_EQ(no_known.qresync->match_sequences.ranges.size(), 1u);
}

TEST(CommandTest, Append) {
  const AppendArgs args =
      Args<AppendArgs>("a APPEND \"Sent Items\" (\\Seen $Fwd \\Recent) \" 7-Feb-1994 21:52:25 -0800\" {310}\r\n");
  EXPECT_EQ(args.mailbox, "Sent Items");
  EXPECT_EQ(args.flags.system, kSeen);
  EXPECT_EQ(args.flags.keywords, std::vector<std::string>{"$Fwd"});
  EXPECT_EQ(args.date->seconds, 760686745);
  EXPECT_EQ(args.date->zone_minutes, -480);
  EXPECT_EQ(args.message_bytes, 310u);
  EXPECT_EQ(Args<AppendArgs>("a APPEND {5}\r\nINBOX {7+}\r\n").mailbox, "INBOX");
}

TEST(CommandTest, Store) {
  const StoreArgs args =
      Args<StoreArgs>("a UID STORE 1:3,* (UNCHANGEDSINCE 12) +flags.silent (\\Deleted \\deleted Junk junk)");
  EXPECT_EQ(args.mode, StoreArgs::Mode::kAdd);
  EXPECT_TRUE(args.silent);
  EXPECT_EQ(args.unchanged_since, Modseq(12));
  EXPECT_EQ(args.flags.system, kDeleted);
  EXPECT_EQ(args.flags.keywords, std::vector<std::string>{"Junk"});
  EXPECT_EQ(Args<StoreArgs>("a STORE 1 -FLAGS \\Seen \\Draft").flags.system, kSeen | kDraft);
  EXPECT_EQ(Args<StoreArgs>("a STORE 1 FLAGS ()").mode, StoreArgs::Mode::kReplace);
}

TEST(CommandTest, FetchItems) {
  const FetchArgs all = Args<FetchArgs>("a FETCH 1:* ALL");
  EXPECT_TRUE(all.flags && all.internal_date && all.size && all.envelope && !all.body);
  EXPECT_TRUE(Args<FetchArgs>("a FETCH 1 full").body);
  EXPECT_FALSE(Args<FetchArgs>("a FETCH 1 FAST").envelope);
  EXPECT_TRUE(Args<FetchArgs>("a FETCH 1 (FAST)").size);
  EXPECT_TRUE(Args<FetchArgs>("a FETCH 1 (UID ALL)").envelope);
  const FetchArgs args = Args<FetchArgs>(
      "a UID FETCH 5 (UID FLAGS BODY BODYSTRUCTURE ENVELOPE RFC822.SIZE MODSEQ EMAILID PREVIEW (LAZY) SAVEDATE) "
      "(CHANGEDSINCE 7 VANISHED)");
  EXPECT_TRUE(args.uid && args.flags && args.body && args.body_structure && args.modseq && args.preview &&
              args.vanished);
  EXPECT_EQ(args.changed_since, Modseq(7));
}

TEST(CommandTest, FetchSectionsAndTheirLabels) {
  using Kind = FetchSection::Kind;
  const struct {
    const char* item;
    const char* label;
    Kind kind;
    bool peek;
    size_t depth;
  } kCases[] = {
      {"BODY[]", "BODY[]", Kind::kWhole, false, 0},
      {"body.peek[]<0.100>", "BODY[]<0>", Kind::kWhole, true, 0},
      {"BODY[1.2.3]", "BODY[1.2.3]", Kind::kWhole, false, 3},
      {"BODY.PEEK[1.mime]", "BODY[1.MIME]", Kind::kMime, true, 1},
      {"BODY[HEADER]", "BODY[HEADER]", Kind::kHeader, false, 0},
      {"BODY[3.HEADER.FIELDS (From \"To\")]", "BODY[3.HEADER.FIELDS (From To)]", Kind::kHeaderFields, false, 1},
      {"BODY.PEEK[HEADER.FIELDS.NOT (\"X Y\")]", "BODY[HEADER.FIELDS.NOT (\"X Y\")]", Kind::kHeaderFieldsNot, true, 0},
      {"BODY[TEXT]<5.6>", "BODY[TEXT]<5>", Kind::kText, false, 0},
      {"RFC822", "RFC822", Kind::kWhole, false, 0},
      {"RFC822.HEADER", "RFC822.HEADER", Kind::kHeader, true, 0},
      {"RFC822.TEXT", "RFC822.TEXT", Kind::kText, false, 0},
  };
  for (const auto& c : kCases) {
    const FetchArgs args = Args<FetchArgs>(absl::StrCat("a FETCH 1 (FLAGS ", c.item, ")"));
    ASSERT_EQ(args.sections.size(), 1u) << c.item;
    EXPECT_EQ(args.sections[0].label, c.label);
    EXPECT_EQ(args.sections[0].kind, c.kind) << c.item;
    EXPECT_EQ(args.sections[0].peek, c.peek) << c.item;
    EXPECT_EQ(args.sections[0].part.size(), c.depth);
  }
}

// The program as prefix notation.
std::string Show(const SearchKey& key) {
  using Kind = SearchKey::Kind;
  static const char* const kNames[] = {"all",         "and",     "or",         "not",        "seq",     "uid",
                                       "flag",        "recent",  "keyword",    "header",     "body",    "text",
                                       "before",      "on",      "since",      "sentbefore", "senton",  "sentsince",
                                       "savedbefore", "savedon", "savedsince", "larger",     "smaller", "modseq",
                                       "older",       "younger", "emailid",    "threadid"};
  std::string out = kNames[static_cast<int>(key.kind)];
  if (!key.field.empty()) absl::StrAppend(&out, ":", key.field);
  if (!key.text.empty()) absl::StrAppend(&out, "=", key.text);
  if (key.number != 0) absl::StrAppend(&out, "#", key.number);
  if (key.kind == Kind::kSequence || key.kind == Kind::kUid)
    absl::StrAppend(&out, "@", key.set.Resolve(100).ToString());
  if (key.keys.empty()) return out;
  out += "(";
  for (const SearchKey& inner : key.keys) absl::StrAppend(&out, out.back() == '(' ? "" : " ", Show(inner));
  return out + ")";
}

TEST(CommandTest, SearchPrograms) {
  const struct {
    const char* text;
    const char* shown;
  } kCases[] = {
      {"ALL", "and(all)"},
      {"UNSEEN FROM joe", "and(not(flag#1) header:From=joe)"},
      {"OR SEEN (DELETED NOT DRAFT)", "and(or(flag#1 and(flag#8 not(flag#16))))"},
      {"1:3,* UID 5:*", "and(seq@1:3,100 uid@5:100)"},
      {"SAVEDATESUPPORTED", "and(all)"},
      {"NEW", "and(and(recent not(flag#1)))"},
      {"OLD", "and(not(recent))"},
      {"HEADER Message-ID \"<x@y>\"", "and(header:Message-ID=<x@y>)"},
      {"HEADER X-Foo \"\"", "and(header:X-Foo)"},
      {"SINCE 1-Jan-1970 BEFORE \"2-Jan-1970\"", "and(since before#1)"},
      {"SENTON 31-Dec-1999", "and(senton#10956)"},
      {"LARGER 100 SMALLER 4294967296", "and(larger#100 smaller#4294967296)"},
      {"KEYWORD $Junk UNKEYWORD x", "and(keyword=$Junk not(keyword=x))"},
      {"MODSEQ \"/flags/\\\\draft\" all 620162338", "and(modseq#620162338)"},
      {"MODSEQ 7", "and(modseq#7)"},
      {"YOUNGER 3600", "and(younger#3600)"},
      {"CHARSET utf-8 SUBJECT {2+}\r\n\xc3\xbc", "and(header:Subject=\xc3\xbc)"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Show(Args<SearchArgs>(absl::StrCat("a SEARCH ", c.text)).key), c.shown) << c.text;
  }
}

// RFC 4731 §3.1
TEST(CommandTest, SearchReturnOptions) {
  EXPECT_FALSE(Args<SearchArgs>("a SEARCH ALL").extended);
  const SearchArgs none = Args<SearchArgs>("a SEARCH RETURN () ALL");
  EXPECT_TRUE(none.extended && none.return_all && !none.return_count);
  const SearchArgs some = Args<SearchArgs>("a UID SEARCH RETURN (MIN MAX COUNT) CHARSET US-ASCII UNSEEN");
  EXPECT_TRUE(some.return_min && some.return_max && some.return_count && !some.return_all);
  EXPECT_EQ(some.charset, "US-ASCII");
  EXPECT_TRUE(Args<SearchArgs>("a SEARCH MODSEQ 1").uses_modseq);
}

TEST(CommandTest, SearchDepthIsBounded) {
  std::string deep = "a SEARCH ";
  for (int i = 0; i < 5000; ++i) deep += "NOT ";
  EXPECT_FALSE(ParseCommand(deep + "SEEN").ok());
  EXPECT_FALSE(ParseCommand("a SEARCH " + std::string(5000, '(') + "SEEN" + std::string(5000, ')')).ok());
  EXPECT_TRUE(ParseCommand("a SEARCH ((((NOT (NOT SEEN)))))").ok());
}

TEST(CommandTest, ListForms) {
  const ListArgs plain = Args<ListArgs>("a LIST \"\" %");
  EXPECT_FALSE(plain.extended);
  EXPECT_EQ(plain.patterns, std::vector<std::string>{"%"});
  const ListArgs args = Args<ListArgs>(
      "a LIST (SUBSCRIBED RECURSIVEMATCH) \"ref/\" (INBOX \"x*\") RETURN (CHILDREN STATUS (MESSAGES UNSEEN) "
      "SPECIAL-USE)");
  EXPECT_TRUE(args.extended && args.select_subscribed && args.select_recursive_match && args.return_children);
  EXPECT_EQ(args.patterns.size(), 2u);
  EXPECT_EQ(args.return_status, kStatusMessages | kStatusUnseen);
  EXPECT_TRUE(Args<ListArgs>("a LIST () \"\" *").extended);
  EXPECT_TRUE(Args<ListArgs>("a LSUB \"\" *").select_subscribed);
}

TEST(CommandTest, Others) {
  EXPECT_EQ(Args<StatusArgs>("a STATUS x (MESSAGES UIDNEXT SIZE)").items,
            kStatusMessages | kStatusUidNext | kStatusSize);
  EXPECT_EQ(Args<CreateArgs>("a CREATE x (USE (\\Sent \\Flagged))").special_use.size(), 2u);
  EXPECT_EQ(Args<CopyArgs>("a UID MOVE 1,2 Trash").mailbox, "Trash");
  EXPECT_TRUE(Args<UidSetArgs>("a UID EXPUNGE $").set.saved_result);
  EXPECT_EQ(Args<RenameArgs>("a RENAME a {1}\r\nb").to, "b");
}

}  // namespace
}  // namespace posthouse::imap
