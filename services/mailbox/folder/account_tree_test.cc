// The deciders of the folder tree as tables: a tree, a change, the tree after it.
#include "services/mailbox/folder/account_tree.h"
#include "services/mailbox/folder/tree_deciders.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {
namespace {

using store::Verdict;
using Code = absl::StatusCode;

class TreeTest : public testing::Test {
 protected:
  TreeTest() {
    order_ = {.max_folders = 100, .max_names_bytes = 1 << 20, .now = absl::FromUnixSeconds(1000)};
    order_.new_id = [this] { return absl::StrFormat("%032x", ++ids_); };
  }
  // "a a/b+ (c)": folders, with '+' when subscribed, '!' without a mailbox; names subscribed alone in parentheses.
  std::string Text() const {
    std::vector<std::string> out;
    for (const FolderInfo& f : tree_.List()) {
      out.push_back(absl::StrCat(f.name, f.folder_id.empty() ? "!" : "", f.subscribed ? "+" : ""));
    }
    for (const std::string& name : tree_.subscriptions()) out.push_back(absl::StrCat("(", name, ")"));
    return absl::StrJoin(out, " ");
  }
  // "create a/b", "delete a", "rename a b", "subscribe a", "unsubscribe a", "new".
  absl::StatusOr<Verdict> Decide(const std::string& line, AccountDraft& draft) {
    const std::vector<std::string> w = absl::StrSplit(line, ' ');
    if (w[0] == "create") return DecideCreate(tree_, draft, order_, w[1], "", info_);
    if (w[0] == "delete") return DecideDelete(tree_, draft, order_, w[1], mailbox_id_);
    if (w[0] == "rename") return DecideRename(tree_, draft, order_, w[1], w[2], info_);
    if (w[0] == "new") return DecideNewAccount(tree_, draft, order_, {{"Sent", "\\Sent"}});
    return DecideSubscribe(tree_, draft, order_, w[1], w[0] == "subscribe");
  }
  void Begin(AccountDraft& draft) const {
    draft.exists = tree_.exists;
    draft.last_uid_validity = tree_.last_uid_validity;
  }
  void Apply(const AccountDraft& draft) {
    tree_.exists = draft.exists;
    tree_.last_uid_validity = draft.last_uid_validity;
    tree_.Apply(draft.changes);
  }
  // "ok", "done" when nothing was to change, or the code. Each line is a commit of its own.
  std::string Do(const std::string& line) {
    AccountDraft draft;
    Begin(draft);
    const absl::StatusOr<Verdict> verdict = Decide(line, draft);
    if (!verdict.ok()) {
      EXPECT_TRUE(draft.mutations().empty()) << line << " failed and left rows";
      return absl::StatusCodeToString(verdict.status().code());
    }
    Apply(draft);
    return *verdict == Verdict::kCommit ? "ok" : "done";
  }

  AccountTree tree_;
  TreeOrder order_;
  FolderInfo info_;
  FolderId mailbox_id_;
  int ids_ = 0;
};

struct Step {
  const char* change;
  const char* answer;
  const char* tree;
};

TEST_F(TreeTest, EachChangeHasItsAnswerAndItsTree) {
  const Step kSteps[] = {
      {"new", "ok", "INBOX+ Sent+"},
      {"new", "done", "INBOX+ Sent+"},
      {"create a/b", "ok", "INBOX+ Sent+ a a/b"},
      {"create a/b", "ALREADY_EXISTS", "INBOX+ Sent+ a a/b"},
      {"create a", "ALREADY_EXISTS", "INBOX+ Sent+ a a/b"},
      {"delete none", "NOT_FOUND", "INBOX+ Sent+ a a/b"},
      // RFC 9051 §6.3.5: a parent loses its messages and stays as a level.
      {"delete a", "ok", "INBOX+ Sent+ a! a/b"},
      {"delete a", "FAILED_PRECONDITION", "INBOX+ Sent+ a! a/b"},
      {"create a", "ok", "INBOX+ Sent+ a a/b"},
      // RFC 9051 §6.3.7: a subscription outlives its folder, and is there when the name is again.
      {"subscribe a/b", "ok", "INBOX+ Sent+ a a/b+"},
      {"subscribe a/b", "done", "INBOX+ Sent+ a a/b+"},
      {"delete a/b", "ok", "INBOX+ Sent+ a (a/b)"},
      {"create a/b/c", "ok", "INBOX+ Sent+ a a/b+ a/b/c"},
      {"subscribe x/y", "ok", "INBOX+ Sent+ a a/b+ a/b/c (x/y)"},
      // RFC 9051 §6.3.6: children move along, missing parents are made.
      {"rename a/b x/y", "ok", "INBOX+ Sent+ a x x/y+ x/y/c"},
      {"rename none z", "NOT_FOUND", "INBOX+ Sent+ a x x/y+ x/y/c"},
      {"rename a Sent", "ALREADY_EXISTS", "INBOX+ Sent+ a x x/y+ x/y/c"},
      {"unsubscribe x/y", "ok", "INBOX+ Sent+ a x x/y x/y/c"},
      {"unsubscribe q", "done", "INBOX+ Sent+ a x x/y x/y/c"},
      {"rename x/y/c c", "ok", "INBOX+ Sent+ a c x x/y"},
  };
  for (const Step& step : kSteps) {
    EXPECT_EQ(Do(step.change), step.answer) << step.change;
    EXPECT_EQ(Text(), step.tree) << step.change;
  }
}

// Deciders that share a commit see what the earlier ones do.
TEST_F(TreeTest, ChangesOfOneCommitSeeEachOther) {
  const struct {
    std::vector<const char*> changes;
    std::vector<const char*> answers;
    const char* tree;
  } kCases[] = {
      {{"create a", "create a/b"}, {"ok", "ok"}, "INBOX+ Sent+ a a/b"},
      {{"create a", "create a"}, {"ok", "ALREADY_EXISTS"}, "INBOX+ Sent+ a"},
      {{"create a", "delete a", "create a"}, {"ok", "ok", "ok"}, "INBOX+ Sent+ a"},
      {{"create a", "rename a b", "create a"}, {"ok", "ok", "ok"}, "INBOX+ Sent+ a b"},
      {{"rename Sent x", "rename x y"}, {"ok", "ok"}, "INBOX+ y+"},
      {{"subscribe a", "create a"}, {"ok", "ok"}, "INBOX+ Sent+ a+"},
      {{"subscribe a", "unsubscribe a"}, {"ok", "ok"}, "INBOX+ Sent+"},
      {{"delete Sent", "create Sent"}, {"ok", "ok"}, "INBOX+ Sent+"},
      {{"create INBOX/a", "delete INBOX"}, {"ok", "ok"}, "INBOX!+ INBOX/a Sent+"},
  };
  for (const auto& c : kCases) {
    tree_ = AccountTree();
    ASSERT_EQ(Do("new"), "ok");
    AccountDraft draft;
    Begin(draft);
    for (size_t i = 0; i < c.changes.size(); ++i) {
      const absl::StatusOr<Verdict> verdict = Decide(c.changes[i], draft);
      EXPECT_EQ(verdict.ok() ? "ok" : absl::StatusCodeToString(verdict.status().code()), c.answers[i]) << c.changes[i];
    }
    Apply(draft);
    EXPECT_EQ(Text(), c.tree) << c.changes[0];
  }
}

// RFC 9051 §2.3.1.1: a UIDVALIDITY is never used twice in an account, whatever the clock says.
TEST_F(TreeTest, UidValidityOnlyGrows) {
  UidValidity last;
  for (int i = 0; i < 4; ++i) {
    order_.now = absl::FromUnixSeconds(i == 2 ? 10 : 1000);  // a clock set back
    ASSERT_EQ(Do("create a"), "ok");
    const FolderNode* node = tree_.Find(tree_.NodeOfName("a"));
    EXPECT_GT(node->uid_validity, last);
    last = node->uid_validity;
    ASSERT_EQ(Do("delete a"), "ok");
    EXPECT_EQ(mailbox_id_.value().size(), 32u);
  }
}

TEST_F(TreeTest, LimitsHoldForWhatGrowsTheTreeOnly) {
  order_.max_folders = 3;
  ASSERT_EQ(Do("create a/b/c"), "ok");
  EXPECT_EQ(Do("create d"), "OUT_OF_RANGE");
  EXPECT_EQ(Do("rename a d"), "ok");
  EXPECT_EQ(Do("rename d x/y"), "OUT_OF_RANGE");
  order_.max_folders = 2;  // an operator made it smaller
  EXPECT_EQ(Do("delete d/b/c"), "ok");
  order_.max_folders = 100;
  order_.max_names_bytes = 1000;
  EXPECT_EQ(Do("create " + std::string(250, 'e') + "/" + std::string(250, 'f')), "ok");
  EXPECT_EQ(Do("create " + std::string(250, 'g')), "OUT_OF_RANGE");
}

TEST_F(TreeTest, AFullStoreStillRenamesWhereNoFolderIsMade) {
  ASSERT_EQ(Do("create a/b"), "ok");
  AccountDraft draft;
  Begin(draft);
  draft.SetStoreIsFull();
  EXPECT_EQ(Decide("rename a/b x/y", draft).status().code(), Code::kResourceExhausted);
  EXPECT_TRUE(Decide("rename a/b c", draft).ok());
}

// Rows n/ of earlier versions go with the nodes that they name.
TEST_F(TreeTest, OldNameRowsAreRemovedWhenTheirNodeChanges) {
  ASSERT_EQ(Do("create a/b"), "ok");
  const std::string key = NameKey(tree_.NodeOfName("a"), "b");
  for (const char* line : {"rename a/b c", "delete a/b", "subscribe a/b"}) {
    AccountDraft draft;
    Begin(draft);
    ASSERT_TRUE(Decide(line, draft).ok());
    ASSERT_NE(draft.Find(key), nullptr) << line;
    EXPECT_FALSE(draft.Find(key)->value.has_value());
    for (const store::Mutation& m : draft.mutations()) {
      EXPECT_FALSE(m.value.has_value() && absl::StartsWith(m.key, "n/")) << "written: " << m.key;
    }
  }
}

}  // namespace
}  // namespace posthouse::mailbox
