// The parts without I/O: numbering, what is announced, how answers are written,
// and the table of states.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/ids/ids.h"
#include "services/gateway/imap/command_table.h"
#include "services/gateway/imap/fetch_render.h"
#include "services/gateway/imap/list_render.h"
#include "services/gateway/imap/search_request.h"
#include "services/gateway/imap/selected.h"
#include "services/gateway/imap/sequence_map.h"

namespace posthouse::gateway {
namespace {

// ---- SequenceMap

TEST(SequenceMapTest, AgreesWithAPlainList) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::set<uint32_t> plain;
    for (int i = 0; i < 40; ++i) plain.insert(1 + random() % 100);
    UidSet uids;
    for (const uint32_t uid : plain) uids.Add(uid);
    SequenceMap map;
    map.Assign(uids);
    map.Append(Uid(200), Uid(205));
    for (uint32_t uid = 200; uid <= 205; ++uid) plain.insert(uid);
    UidSet removed;
    for (int i = 0; i < 5; ++i) removed.Add(1 + random() % 205);
    map.Remove(removed);
    std::vector<uint32_t> list;
    for (const uint32_t uid : plain) {
      if (!removed.Contains(uid)) list.push_back(uid);
    }
    ASSERT_EQ(map.size(), list.size());
    UidSet some_seqs, some_uids, want_uids, want_seqs;
    for (uint32_t i = 0; i < list.size(); ++i) {
      ASSERT_EQ(map.SequenceOf(Uid(list[i])), i + 1);
      ASSERT_EQ(map.CountFrom(Uid(list[i])), list.size() - i);
      if (random() % 2 == 0) continue;
      some_seqs.Add(i + 1);
      want_uids.Add(list[i]);
      some_uids.Add(list[i]);
      want_seqs.Add(i + 1);
    }
    some_uids.Add(300);
    EXPECT_EQ(map.ToUids(some_seqs), want_uids);
    EXPECT_EQ(map.ToSequences(some_uids), want_seqs);
    EXPECT_EQ(map.SequenceOf(Uid(300)), 0u);
    EXPECT_EQ(map.CountFrom(Uid(300)), 0u);
  }
}

// ---- Selected

mail::ListUidsResponse Uids(uint32_t count) {
  mail::ListUidsResponse response;
  response.mutable_state()->set_folder_id("f");
  response.mutable_state()->set_uid_validity(1);
  response.mutable_state()->set_uid_next(count + 1);
  response.set_recent_after(count);
  response.mutable_state()->set_highest_modseq(10);
  if (count > 0) {
    response.add_uids()->set_first(1);
    response.mutable_uids(0)->set_last(count);
  }
  return response;
}

std::string Report(Selected& view, bool expunges, Selected::Dialect dialect = {}, size_t limit = 1000) {
  std::string out;
  while (expunges && view.AppendExpunges(out, dialect, limit)) {
  }
  while (view.AppendUpdates(out, dialect, limit)) {
  }
  return out;
}

TEST(SelectedTest, ManyExpungesComeInSlicesFromTheTop) {
  Selected view(false, Uids(10000));
  UidSet gone;
  gone.Add(2, 9999);
  view.ApplyOwnExpunge(gone, mail::FolderState());
  std::string all;
  int slices = 0;
  bool more = true;
  while (more) {
    std::string out;
    more = view.AppendExpunges(out, {}, 1600);
    EXPECT_LE(out.size(), 3200u);
    all += out;
    ++slices;
  }
  EXPECT_EQ(slices, 100);
  EXPECT_EQ(all.substr(0, 36), "* 9999 EXPUNGE\r\n* 9998 EXPUNGE\r\n* 99");
  EXPECT_EQ(all.substr(all.size() - 13), "* 2 EXPUNGE\r\n");
  EXPECT_EQ(view.map().uids().ToString(), "1,10000");
}

TEST(SelectedTest, ExpungesWaitUntilTheyMayBeTold) {
  Selected view(false, Uids(3));
  mail::GetChangesResponse changes;
  changes.mutable_state()->set_highest_modseq(12);
  changes.mutable_state()->set_uid_next(5);
  changes.set_recent_after(3);
  changes.add_vanished()->set_first(2);
  changes.mutable_vanished(0)->set_last(2);
  changes.mutable_rows()->add_uid(4);
  changes.mutable_rows()->add_modseq(12);
  changes.mutable_rows()->add_flags(0);
  view.ApplyChanges(changes);
  EXPECT_EQ(Report(view, false), "* 4 EXISTS\r\n* 1 RECENT\r\n");
  EXPECT_EQ(view.map().SequenceOf(Uid(3)), 3u);
  EXPECT_TRUE(view.has_updates());
  EXPECT_EQ(Report(view, true), "* 2 EXPUNGE\r\n");
  EXPECT_EQ(view.map().SequenceOf(Uid(3)), 2u);
  EXPECT_FALSE(view.has_updates());
  EXPECT_EQ(view.modseq(), Modseq(12));
}

TEST(SelectedTest, AMessageThatCameAndWentBetweenTwoUpdatesHasNoExpunge) {
  for (const bool qresync : {false, true}) {
    Selected view(false, Uids(3));
    mail::GetChangesResponse came;
    came.mutable_state()->set_highest_modseq(11);
    came.mutable_rows()->add_uid(4);
    came.mutable_rows()->add_modseq(11);
    came.mutable_rows()->add_flags(0);
    view.ApplyChanges(came);
    mail::GetChangesResponse went;
    went.mutable_state()->set_highest_modseq(12);
    went.add_vanished()->set_first(4);
    went.mutable_vanished(0)->set_last(4);
    view.ApplyChanges(went);
    EXPECT_EQ(Report(view, true, {qresync, qresync}), "* 3 EXISTS\r\n* 0 RECENT\r\n");
    EXPECT_FALSE(view.has_updates());
  }
}

TEST(SelectedTest, QresyncSaysVanished) {
  Selected view(false, Uids(5));
  view.ApplyOwnExpunge(UidSet({{2, 3}, {5, 5}, {9, 9}}), mail::FolderState());
  EXPECT_EQ(Report(view, true, {true, true}), "* VANISHED 2:3,5\r\n");
}

TEST(SelectedTest, OwnChangesAreNotRepeated) {
  Selected view(false, Uids(3));
  mail::StoreFlagsResponse stored;
  stored.mutable_rows()->add_uid(1);
  stored.mutable_rows()->add_modseq(11);
  stored.add_own_modseq(11);
  stored.mutable_state()->set_highest_modseq(12);  // somebody else did 12
  EXPECT_TRUE(view.OthersChanged(stored));
  view.ApplyOwnStore(stored);
  EXPECT_EQ(view.modseq(), Modseq(10));
  mail::GetChangesResponse changes;
  changes.mutable_state()->set_highest_modseq(12);
  for (const uint32_t uid : {1u, 2u}) {
    changes.mutable_rows()->add_uid(uid);
    changes.mutable_rows()->add_modseq(10 + uid);
    changes.mutable_rows()->add_flags(1);
  }
  view.ApplyChanges(changes);
  EXPECT_EQ(Report(view, true, {true, false}), "* 2 FETCH (FLAGS (\\Seen) MODSEQ (12))\r\n");
}

TEST(SelectedTest, AnOwnChangeAloneMovesTheViewOn) {
  Selected view(false, Uids(3));
  mail::StoreFlagsResponse stored;
  stored.mutable_rows()->add_uid(1);
  stored.mutable_rows()->add_modseq(11);
  stored.mutable_rows()->add_uid(2);
  stored.mutable_rows()->add_modseq(4);  // had the flag already
  stored.add_own_modseq(11);
  stored.mutable_state()->set_highest_modseq(11);
  EXPECT_FALSE(view.OthersChanged(stored));
  view.ApplyOwnStore(stored);
  EXPECT_EQ(view.modseq(), Modseq(11));
}

// Somebody else gave messages 1 and 2 the flag that our STORE would have given to 1.
TEST(SelectedTest, AStoreThatChangedNothingIsNoOwnChange) {
  Selected view(false, Uids(3));
  mail::GetChangesResponse theirs;
  theirs.mutable_state()->set_highest_modseq(11);
  for (const uint32_t uid : {1u, 2u}) {
    theirs.mutable_rows()->add_uid(uid);
    theirs.mutable_rows()->add_modseq(11);
    theirs.mutable_rows()->add_flags(1);
  }
  mail::StoreFlagsResponse stored;
  stored.mutable_rows()->add_uid(1);
  stored.mutable_rows()->add_modseq(11);
  stored.mutable_rows()->add_flags(1);
  stored.mutable_state()->set_highest_modseq(11);
  EXPECT_TRUE(view.OthersChanged(stored));
  view.ApplyOwnStore(stored);
  EXPECT_EQ(view.modseq(), Modseq(10));
  view.ApplyChanges(theirs);
  EXPECT_EQ(Report(view, true), "* 2 FETCH (FLAGS (\\Seen))\r\n");
}

TEST(SelectedTest, OwnExpungesMoveTheViewOnWhenNobodyElseWasThere) {
  Selected view(false, Uids(3));
  mail::FolderState state;
  state.set_highest_modseq(11);
  view.ApplyOwnExpunge(UidSet(), state);  // nothing went, so 11 is somebody else's
  EXPECT_EQ(view.modseq(), Modseq(10));
  view.ApplyOwnExpunge(UidSet({{2, 2}}), state);
  EXPECT_EQ(view.modseq(), Modseq(11));
  state.set_highest_modseq(13);
  view.ApplyOwnExpunge(UidSet({{3, 3}}), state);
  EXPECT_EQ(view.modseq(), Modseq(11));
  EXPECT_EQ(Report(view, true), "* 3 EXPUNGE\r\n* 2 EXPUNGE\r\n");
}

// A row of ours with a keyword whose name was not told yet must come again.
TEST(SelectedTest, AForeignKeywordInAnOwnRowIsNotLost) {
  Selected view(false, Uids(1));
  mail::GetChangesResponse changes;
  changes.mutable_state()->set_highest_modseq(12);
  changes.mutable_state()->add_keywords("$New");
  changes.mutable_rows()->add_uid(1);
  changes.mutable_rows()->add_modseq(12);
  changes.mutable_rows()->add_flags(1);
  changes.mutable_rows()->add_keywords("\x01");
  view.MarkReported(changes.rows());
  view.ApplyChanges(changes);
  const std::string told = Report(view, true);
  EXPECT_NE(told.find("* 1 FETCH (FLAGS (\\Seen $New))\r\n"), std::string::npos) << told;
}

TEST(SelectedTest, KeywordsAreBitsOfTheFolder) {
  mail::ListUidsResponse uids = Uids(1);
  for (int i = 0; i < 10; ++i) uids.mutable_state()->add_keywords(absl::StrCat("k", i));
  uids.mutable_state()->set_keyword_limit(10);
  Selected view(false, uids);
  std::string out;
  view.AppendFlags(out, Uid(1), 1, absl::string_view("\x02\x02", 2));
  EXPECT_EQ(out, "FLAGS (\\Seen k1 k9)");
  out.clear();
  view.AppendFlagsLines(out);
  EXPECT_EQ(out.find("\\*"), std::string::npos) << "no more keywords can be made: " << out;
}

// ---- LIST

mail::ListFoldersResponse Tree() {
  mail::ListFoldersResponse tree;
  const struct {
    const char* name;
    bool subscribed;
    const char* use;
    bool children;
    bool no_select;
  } kFolders[] = {{"INBOX", true, "", false, false},     {"Sent", false, "\\Sent", false, false},
                  {"a", false, "", true, false},         {"a/b", true, "", true, false},
                  {"a/b/c", true, "", false, false},     {"x", false, "", true, true},
                  {"x/y", false, "\\Junk", false, false}};
  for (const auto& f : kFolders) {
    mail::Folder* folder = tree.add_folders();
    folder->set_name(f.name);
    folder->set_subscribed(f.subscribed);
    folder->set_special_use(f.use);
    folder->set_has_children(f.children);
    folder->set_no_select(f.no_select);
  }
  tree.add_subscribed_only("gone/away");
  return tree;
}

std::string List(absl::string_view command) {
  const absl::StatusOr<imap::Command> parsed = imap::ParseCommand(command);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  const auto& args = std::get<imap::ListArgs>(parsed->args);
  std::string out;
  for (std::string line : parsed->name == "LSUB" ? RenderLsub(Tree(), args) : RenderList(Tree(), args, 0)) {
    line.resize(line.size() - 2);
    absl::StrAppend(&out, out.empty() ? "" : "; ", line.substr(7));
  }
  return out;
}

// RFC 9051 §6.3.9, RFC 5258 §5
TEST(ListTest, Table) {
  const struct {
    const char* command;
    const char* answer;
  } kCases[] = {
      {"t LIST \"\" %",
       R"((\HasNoChildren) "/" "INBOX"; (\HasNoChildren \Sent) "/" "Sent"; (\HasChildren) "/" "a"; (\Noselect \HasChildren) "/" "x")"},
      {"t LIST \"\" a/%", R"((\HasChildren) "/" "a/b")"},
      {"t LIST a/ *", R"((\HasChildren) "/" "a/b"; (\HasNoChildren) "/" "a/b/c")"},
      {"t LIST (SUBSCRIBED) \"\" *",
       R"((\HasNoChildren \Subscribed) "/" "INBOX"; (\HasChildren \Subscribed) "/" "a/b"; (\HasNoChildren \Subscribed) "/" "a/b/c"; (\NonExistent \Subscribed) "/" "gone/away")"},
      {"t LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %",
       R"((\HasNoChildren \Subscribed) "/" "INBOX"; (\HasChildren) "/" "a" ("CHILDINFO" ("SUBSCRIBED")); (\NonExistent) "/" "gone" ("CHILDINFO" ("SUBSCRIBED")))"},
      {"t LIST (SPECIAL-USE) \"\" *", R"((\HasNoChildren \Sent) "/" "Sent"; (\HasNoChildren \Junk) "/" "x/y")"},
      {"t LIST \"\" (INBOX \"x%\") RETURN (SUBSCRIBED)",
       R"((\HasNoChildren \Subscribed) "/" "INBOX"; (\Noselect \HasChildren) "/" "x")"},
      {"t LSUB \"\" *", R"(() "/" "INBOX"; () "/" "a/b"; () "/" "a/b/c"; () "/" "gone/away")"},
      {"t LSUB \"\" %", R"(() "/" "INBOX"; (\Noselect) "/" "a"; (\Noselect) "/" "gone")"},
  };
  for (const auto& c : kCases) EXPECT_EQ(List(c.command), c.answer) << c.command;
}

// ---- FETCH

class FetchRenderTest : public testing::Test {
 protected:
  FetchRenderTest() : view_(false, Uids(5)) {
    args_.sections.resize(1);
    args_.sections[0].label = "BODY[]";
  }
  mail::FetchResponse Piece(uint32_t uid, bool row, uint64_t total, const std::string& data, bool last) {
    mail::FetchResponse chunk;
    if (row) chunk.mutable_rows()->add_uid(uid);
    mail::SectionPiece* piece = chunk.add_pieces();
    piece->set_uid(uid);
    piece->set_total_bytes(total);
    piece->set_data(data);
    piece->set_last(last);
    return chunk;
  }
  imap::FetchArgs args_;
  Selected view_;
};

TEST_F(FetchRenderTest, SlicesEndAtTheLimitAndGoOn) {
  FetchRender render(args_, false, view_, {}, false);
  mail::FetchResponse chunk;
  for (uint32_t uid = 1; uid <= 3; ++uid) chunk.MergeFrom(Piece(uid, true, 3, "abc", true));
  render.Take(chunk);
  std::string all;
  int slices = 0;
  for (bool more = true; more; ++slices) {
    std::string out;
    more = *render.Next(out, 10);
    all += out;
  }
  EXPECT_EQ(all, "* 1 FETCH (BODY[] {3}\r\nabc)\r\n* 2 FETCH (BODY[] {3}\r\nabc)\r\n* 3 FETCH (BODY[] {3}\r\nabc)\r\n");
  EXPECT_EQ(slices, 3);
  EXPECT_TRUE(render.Finish().ok());
}

TEST_F(FetchRenderTest, MessagesTheViewDoesNotHaveAreSkipped) {
  FetchRender render(args_, false, view_, {}, false);
  std::string out;
  render.Take(Piece(9, true, 3, "abc", true));
  EXPECT_FALSE(*render.Next(out, 1000));
  mail::FetchResponse row_only;  // expunged before its body was read
  row_only.mutable_rows()->add_uid(1);
  render.Take(row_only);
  EXPECT_FALSE(*render.Next(out, 1000));
  render.Take(Piece(2, true, 0, "", true));
  EXPECT_FALSE(*render.Next(out, 1000));
  EXPECT_EQ(out, "* 2 FETCH (BODY[] {0}\r\n)\r\n");
}

TEST_F(FetchRenderTest, BrokenStreamsAreNoticed) {
  const struct {
    mail::FetchResponse first;
    mail::FetchResponse second;
  } kCases[] = {
      {Piece(1, true, 3, "abcd", true), {}},                           // too many bytes
      {Piece(1, true, 3, "ab", true), {}},                             // too few
      {Piece(1, true, 3, "ab", false), Piece(2, true, 1, "x", true)},  // another message in between
  };
  for (const auto& c : kCases) {
    FetchRender render(args_, false, view_, {}, false);
    std::string out;
    render.Take(c.first);
    absl::Status status = render.Next(out, 1000).status();
    if (status.ok()) {
      render.Take(c.second);
      status = render.Next(out, 1000).status();
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  }
  FetchRender render(args_, false, view_, {}, false);
  std::string out;
  render.Take(Piece(1, true, 3, "ab", false));
  EXPECT_TRUE(render.Next(out, 1000).ok());
  EXPECT_FALSE(render.Finish().ok());
}

// ---- SEARCH answers

TEST(SearchAnswerTest, LongListsComeInSlices) {
  imap::SearchArgs args;
  UidSet found;
  found.Add(1, 5000);
  SearchAnswer answer(args, "t", false, found, Modseq());
  std::string all;
  bool more = true;
  while (more) {
    std::string out;
    more = answer.Next(out, 500);
    EXPECT_LE(out.size(), 520u);
    all += out;
  }
  std::vector<std::string> numbers;
  for (int i = 1; i <= 5000; ++i) numbers.push_back(absl::StrCat(i));
  EXPECT_EQ(all, absl::StrCat("* SEARCH ", absl::StrJoin(numbers, " "), "\r\n"));
}

// ---- states

// RFC 9051 §6: which commands are allowed where.
TEST(CommandTableTest, StatesOfAllCommands) {
  const std::set<std::string> any = {"CAPABILITY", "NOOP", "LOGOUT", "ID"};
  const std::set<std::string> before = {"STARTTLS", "AUTHENTICATE", "LOGIN"};
  const std::set<std::string> selected = {"CHECK",     "CLOSE",      "UNSELECT", "EXPUNGE",   "UID EXPUNGE",
                                          "SEARCH",    "UID SEARCH", "FETCH",    "UID FETCH", "STORE",
                                          "UID STORE", "COPY",       "UID COPY", "MOVE",      "UID MOVE"};
  EXPECT_EQ(AllCommands().size(), 36u);
  for (const CommandSpec& spec : AllCommands()) {
    const std::string name(spec.name);
    const auto allowed = [&](State state) { return !RefuseNow(spec, state, true).has_value(); };
    EXPECT_EQ(allowed(State::kNotAuthenticated), any.count(name) + before.count(name) > 0) << name;
    EXPECT_EQ(allowed(State::kAuthenticated), before.count(name) + selected.count(name) == 0) << name;
    EXPECT_EQ(allowed(State::kSelected), before.count(name) == 0) << name;
    EXPECT_FALSE(allowed(State::kLogout)) << name;
    EXPECT_NE(spec.handler, nullptr);
    EXPECT_EQ(FindCommand(name), &spec);
  }
}

TEST(CommandTableTest, CapabilitiesFollowTheState) {
  CapabilityFacts facts;
  facts.can_start_tls = true;
  EXPECT_EQ(Capabilities(facts), "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE STARTTLS LOGINDISABLED");
  facts.tls = facts.may_send_password = true;
  EXPECT_EQ(Capabilities(facts), "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN AUTH=LOGIN");
  facts.state = State::kSelected;
  facts.append_limit = 5;
  EXPECT_NE(Capabilities(facts).find(" APPENDLIMIT=5"), std::string::npos);
  EXPECT_EQ(Capabilities(facts).find("AUTH="), std::string::npos);
}

TEST(ReplyTest, EveryStatusHasAnAnswer) {
  const struct {
    absl::StatusCode code;
    const char* reply;
  } kCases[] = {
      {absl::StatusCode::kNotFound, "NONEXISTENT"},         {absl::StatusCode::kAlreadyExists, "ALREADYEXISTS"},
      {absl::StatusCode::kInvalidArgument, "CANNOT"},       {absl::StatusCode::kFailedPrecondition, "CANNOT"},
      {absl::StatusCode::kResourceExhausted, "OVERQUOTA"},  {absl::StatusCode::kPermissionDenied, "NOPERM"},
      {absl::StatusCode::kDataLoss, "CORRUPTION"},          {absl::StatusCode::kUnavailable, "UNAVAILABLE"},
      {absl::StatusCode::kDeadlineExceeded, "UNAVAILABLE"}, {absl::StatusCode::kAborted, "UNAVAILABLE"},
      {absl::StatusCode::kInternal, "UNAVAILABLE"},         {absl::StatusCode::kUnknown, "UNAVAILABLE"},
      {absl::StatusCode::kUnimplemented, "UNAVAILABLE"},
  };
  for (const auto& c : kCases) EXPECT_EQ(ReplyFor(absl::Status(c.code, "x")).code, c.reply);
  std::string out;
  AppendReply(out, "t", No("CANNOT", "bad\r\nthing"));
  EXPECT_EQ(out, "t NO [CANNOT] bad??thing\r\n");
}

}  // namespace
}  // namespace posthouse::gateway
