#include "services/common/store/guarded_partition.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "services/common/async/thread_pool.h"
#include "services/common/metrics/metrics.h"
#include "services/common/store/testing/guarded_ledger.h"
#include "services/common/store/testing/memory_store.h"

namespace posthouse::store {
namespace {

using Code = absl::StatusCode;

class GuardedPartitionTest : public testing::Test {
 protected:
  GuardedOptions Options() {
    GuardedOptions options;
    options.store = &store_;
    options.partition = partition_;
    options.log_prefix = "q/";
    options.metrics = &metrics_;
    options.clock = [this] { return now_; };
    options.random = [this] { return ++random_; };
    return options;
  }
  std::shared_ptr<Ledger> Open() { return std::make_shared<Ledger>(Options(), LedgerModel(store_, partition_)); }
  std::shared_ptr<Ledger> OpenOwned(const std::string& owner) {
    GuardedOptions options = Options();
    options.kind = GuardKind::kOwnedHead;
    options.log_prefix.clear();
    auto ledger = std::make_shared<Ledger>(options, LedgerModel(store_, partition_, owner));
    EXPECT_TRUE(SyncWait(ledger->Change([&](const LedgerState& state, const FetchedRows&,
                                            LedgerDraft& draft) -> absl::StatusOr<Verdict> {
                  draft.head.epoch = state.head.epoch + 1;
                  draft.head.owner = owner;
                  draft.claims = true;
                  return Verdict::kCommit;
                })).ok());
    return ledger;
  }
  // The position, or minus the code of the error.
  static int Add(Ledger& ledger, const std::string& id, ChangeOptions options = {}) {
    uint64_t position = 0;
    const absl::Status status = SyncWait(ledger.Change(AddEntry(id, &position), options));
    return status.ok() ? static_cast<int>(position) : -static_cast<int>(status.code());
  }
  static constexpr int Error(Code code) { return -static_cast<int>(code); }
  // The entries in the store in the order of their positions.
  std::string Entries() {
    LedgerModel model(store_, partition_);
    const absl::StatusOr<Loaded<LedgerState>> loaded = SyncWait(model.Load(LedgerModel::kEntries));
    return loaded.ok() ? absl::StrJoin(*loaded->state.entries, " ") : loaded.status().ToString();
  }
  uint64_t Sequence() { return SyncWait(LedgerModel(store_, partition_).Load(0))->state.head.sequence; }
  // The next commits get these answers. `happens`: in spite of the answer.
  struct Fault {
    Code code;
    bool happens = false;
    absl::Duration takes;
  };
  void Fail(std::vector<Fault> faults) {
    faults_ = std::move(faults);
    store_.disk().SetCommitHook([this](const CommitRequest&, bool* apply_anyway) -> absl::Status {
      ++commits_;
      if (faults_.empty()) return absl::OkStatus();
      const Fault fault = faults_.front();
      faults_.erase(faults_.begin());
      now_ += fault.takes;
      *apply_anyway = fault.happens;
      return fault.code == Code::kOk ? absl::OkStatus() : absl::Status(fault.code, "injected");
    });
  }
  void Put(const std::string& key, const std::string& value) {
    CommitRequest request{.partition = partition_};
    request.mutations = {{key, value}};
    ASSERT_TRUE(SyncWait(store_.Commit(std::move(request))).ok());
  }

  const Partition partition_{"t", "ledger"};
  MemoryStore store_;
  metrics::Registry registry_;
  GuardMetrics metrics_{registry_, "ledger"};
  absl::Time now_ = absl::UnixEpoch();
  uint64_t random_ = 0;
  int commits_ = 0;
  std::vector<Fault> faults_;
};

TEST_F(GuardedPartitionTest, AStoreThatFillsUpWhileTheOutcomeIsUnknownStopsNoRemoval) {
  const auto ledger = Open();
  ASSERT_EQ(Add(*ledger, "a"), 0);
  store_.disk().SetCommitHook([first = true](const CommitRequest& request, bool*) mutable -> absl::Status {
    if (std::exchange(first, false)) return absl::DeadlineExceededError("injected");
    return request.use_reserve ? absl::OkStatus() : absl::ResourceExhaustedError("full");
  });
  ChangeOptions removal;
  removal.use_reserve = true;
  removal.deadline = absl::InfiniteFuture();
  EXPECT_EQ(Add(*ledger, "b", removal), 1);
  EXPECT_EQ(Add(*ledger, "c"), Error(Code::kResourceExhausted));
  EXPECT_EQ(Entries(), "a b");
}

TEST_F(GuardedPartitionTest, AChangeIsCommittedOnceAndARepetitionFindsIt) {
  const auto ledger = Open();
  EXPECT_EQ(Add(*ledger, "a"), 0);
  EXPECT_EQ(Add(*ledger, "b"), 1);
  EXPECT_EQ(Add(*ledger, "a"), 0);
  EXPECT_EQ(Entries(), "a b");
  EXPECT_EQ(metrics_.commits.Value(), 2);
  EXPECT_EQ(*SyncWait(ledger->Look([](const LedgerState& s) { return s.head.count; })), 2u);
  EXPECT_EQ(ledger->model().loads, 1);
}

TEST_F(GuardedPartitionTest, AnErrorOfTheDeciderIsTheAnswerAndNothingIsWritten) {
  const auto ledger = Open();
  Fail({});
  EXPECT_EQ(
      SyncWait(ledger->Change([](const LedgerState&, const FetchedRows&, LedgerDraft&) -> absl::StatusOr<Verdict> {
        return absl::NotFoundError("no such thing");
      })).code(),
      Code::kNotFound);
  EXPECT_EQ(commits_, 0);
}

TEST_F(GuardedPartitionTest, RowsAreReadWithTheHeadOfTheSameInstant) {
  const auto ledger = Open();
  const auto other = Open();
  Add(*ledger, "a");
  Add(*other, "b");  // `ledger` does not know of it
  uint64_t count = 0;
  std::string row;
  const absl::Status status = SyncWait(ledger->Change(
      [&](const LedgerState& state, const FetchedRows& rows, LedgerDraft& draft) -> absl::StatusOr<Verdict> {
        if (rows.Find("e/b") == nullptr) return draft.Need({"e/b", "e/none"});
        count = state.head.count;
        row = std::string(rows.Value("e/b"));
        EXPECT_FALSE(rows.Find("e/none")->has_value());
        return Verdict::kDone;
      }));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(row, "1");
  EXPECT_EQ(ledger->model().patches, 1);
  EXPECT_EQ(ledger->model().loads, 1);
}

TEST_F(GuardedPartitionTest, WritersOfOnePartitionFollowEachOtherThroughTheLog) {
  const auto first = Open();
  const auto second = Open();
  ChangeOptions entries{.parts = LedgerModel::kEntries};
  int position = 0;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Add(*first, absl::StrCat("f", i), entries), position++);
    EXPECT_EQ(Add(*second, absl::StrCat("s", i), entries), position++);
  }
  EXPECT_EQ(metrics_.conflicts.Value(), 38);  // all but the first of each
  EXPECT_EQ(first->model().loads, 1);
  EXPECT_EQ(second->model().loads, 1);
  // Too far behind for the log: loaded anew.
  for (uint64_t i = 0; i < LedgerModel::kLogRows + 1; ++i) Add(*first, absl::StrCat("g", i));
  Add(*second, "last");
  EXPECT_EQ(second->model().loads, 2);
}

TEST_F(GuardedPartitionTest, AFreshLookSeesWhatOthersCommitted) {
  const auto ledger = Open();
  Add(*ledger, "a");
  Add(*Open(), "b");
  const auto count = [](const LedgerState& s) { return s.head.count; };
  EXPECT_EQ(*SyncWait(ledger->Look(count)), 1u);
  EXPECT_EQ(*SyncWait(ledger->Look(count, {.fresh = true})), 2u);
  EXPECT_EQ(*SyncWait(ledger->Look(count)), 2u);
}

// ---- unknown outcomes

TEST_F(GuardedPartitionTest, AnUnknownCommitIsProvedOrSentAgain) {
  for (const bool happens : {true, false}) {
    const auto ledger = Open();
    commits_ = 0;
    Fail({{Code::kDeadlineExceeded, happens}});
    EXPECT_EQ(Add(*ledger, absl::StrCat("x", happens)), happens ? 0 : 1);
    EXPECT_EQ(commits_, happens ? 1 : 2);
  }
  EXPECT_EQ(Entries(), "x1 x0");
  EXPECT_EQ(metrics_.unknown.Value(), 2);
}

TEST_F(GuardedPartitionTest, AFailureWhileTheOutcomeIsUnknownIsNoAnswer) {
  const auto ledger = Open();
  for (const Code code : {Code::kUnavailable, Code::kResourceExhausted, Code::kDeadlineExceeded}) {
    Fail({{Code::kDeadlineExceeded}, {code}, {code, true}});
    EXPECT_GE(Add(*ledger, absl::StrCat("x", static_cast<int>(code))), 0);
  }
  EXPECT_EQ(Entries(), "x14 x8 x4");
}

// A "no" needs a head that moved on: the late commit must find it.
TEST_F(GuardedPartitionTest, AtTheDeadlineAnEmptyCommitMakesTheAnswerNoDefinite) {
  const auto ledger = Open();
  Add(*ledger, "a");
  const uint64_t before = Sequence();
  Fail({{Code::kDeadlineExceeded, false, absl::Hours(1)}});
  EXPECT_EQ(Add(*ledger, "b"), Error(Code::kUnavailable));
  EXPECT_EQ(Sequence(), before + 1);
  EXPECT_EQ(Entries(), "a");
  EXPECT_EQ(Add(*ledger, "c"), 1);
}

TEST_F(GuardedPartitionTest, ACommitThatStaysUnknownAtTheDeadlineIsAnsweredSoAndSettledLater) {
  for (const bool happens : {true, false}) {
    const auto ledger = Open();
    const std::string id = absl::StrCat("x", happens);
    Fail({{Code::kDeadlineExceeded, happens, absl::Hours(1)}, {Code::kDeadlineExceeded}});
    store_.disk().SetReadError(absl::OkStatus());
    uint64_t position = 0;
    absl::Status status = absl::OkStatus();
    ledger->Submit(
        [&, add = AddEntry(id, &position)](const LedgerState& s, const FetchedRows& r, LedgerDraft& d) mutable {
          store_.disk().SetReadError(absl::UnavailableError("away"));  // from the commit on
          return add(s, r, d);
        },
        {}, [&](absl::Status s) { status = std::move(s); });
    EXPECT_EQ(status.code(), Code::kDeadlineExceeded) << status;
    EXPECT_EQ(ledger->model().committed, 0u);
    store_.disk().SetReadError(absl::OkStatus());
    EXPECT_EQ(Add(*ledger, id), happens ? 0 : 1);
    EXPECT_EQ(ledger->model().committed, 1u);
  }
  EXPECT_EQ(Entries(), "x1 x0");
}

// Sent again, the commit finds a row that it guards against, and the head as it was: the
// first try cannot land any more either.
TEST_F(GuardedPartitionTest, AGuardedRowThatExistsEndsTheDoubt) {
  const auto ledger = Open();
  Add(*ledger, "a");
  Fail({{Code::kDeadlineExceeded}});
  EXPECT_EQ(Add(*ledger, "a"), 0);
  EXPECT_EQ(Add(*ledger, "b"), 1);
}

// ---- models that refuse, or drop parts

// Refuses while row "frozen" stood at the last load; a patch drops the entries.
class FreezingModel : public LedgerModel {
 public:
  FreezingModel(Store& store, Partition partition) : LedgerModel(store, partition), store_(&store), at_(partition) {}
  Task<absl::StatusOr<Loaded<LedgerState>>> Load(unsigned parts) {
    ReadRequest request{.partition = at_, .keys = {"frozen"}};
    PH_CO_ASSIGN_OR_RETURN(const ReadResult read, co_await store_->Read(std::move(request)));
    frozen_ = read.values[0].has_value();
    co_return co_await LedgerModel::Load(parts);
  }
  absl::Status Refuse(const LedgerState&) const {
    return frozen_ ? absl::FailedPreconditionError("frozen") : absl::OkStatus();
  }
  absl::StatusOr<bool> Patch(LedgerState& state, const std::string& head, const std::vector<Row>& log) {
    if (frozen_) return false;
    state.entries.reset();
    return LedgerModel::Patch(state, head, log);
  }

 private:
  Store* store_;
  Partition at_;
  bool frozen_ = false;
};

TEST_F(GuardedPartitionTest, WhatMemoryRefusesIsLookedUpBeforeTheAnswer) {
  Add(*Open(), "a");
  Put("frozen", "yes");
  const auto ledger = std::make_shared<GuardedPartition<FreezingModel>>(Options(), FreezingModel(store_, partition_));
  uint64_t position = 0;
  EXPECT_EQ(SyncWait(ledger->Change(AddEntry("b", &position))).code(), Code::kFailedPrecondition);
  CommitRequest thaw{.partition = partition_};
  thaw.mutations = {{"frozen", std::nullopt}};
  ASSERT_TRUE(SyncWait(store_.Commit(std::move(thaw))).ok());
  Add(*Open(), "c");  // as the commit of whoever thawed it
  EXPECT_TRUE(SyncWait(ledger->Change(AddEntry("b", &position))).ok());
  EXPECT_EQ(Entries(), "a c b");
}

TEST_F(GuardedPartitionTest, APartThatAPatchDropsIsLoadedBeforeADeciderNeedsIt) {
  const auto ledger = std::make_shared<GuardedPartition<FreezingModel>>(Options(), FreezingModel(store_, partition_));
  uint64_t position = 0;
  const ChangeOptions entries{.parts = LedgerModel::kEntries};
  ASSERT_TRUE(SyncWait(ledger->Change(AddEntry("a", &position), entries)).ok());
  Add(*Open(), "b");
  const auto look = [](const LedgerState& state) { return state.entries.has_value() ? state.entries->size() : 0; };
  EXPECT_EQ(*SyncWait(ledger->Look(look, {.fresh = true, .parts = LedgerModel::kEntries})), 2u);
}

// ---- damage and full stores

TEST_F(GuardedPartitionTest, ADamagedHeadOrRowIsDataLossOfThatPartitionOnly) {
  Add(*Open(), "a");
  Put("e/a", "no number");
  const auto ledger = Open();
  EXPECT_EQ(Add(*ledger, "b", {.parts = LedgerModel::kEntries}), Error(Code::kDataLoss));
  EXPECT_EQ(Add(*ledger, "b"), 1);  // needs no entries
  Put("H", "nonsense");
  EXPECT_EQ(Add(*Open(), "c"), Error(Code::kDataLoss));
}

TEST_F(GuardedPartitionTest, AFullStoreRefusesWhatAddsAndTakesWhatMayUseTheReserve) {
  const auto ledger = Open();
  Add(*ledger, "a");
  store_.disk().SetFreeBytes(0);
  EXPECT_EQ(Add(*ledger, "b"), Error(Code::kResourceExhausted));
  std::vector<bool> full;
  EXPECT_TRUE(SyncWait(ledger->Change(
                           [&](const LedgerState&, const FetchedRows&, LedgerDraft& draft) -> absl::StatusOr<Verdict> {
                             full.push_back(draft.store_is_full());
                             if (!draft.store_is_full()) draft.Set("note", "only when there is room");
                             draft.Remove("other note");
                             return Verdict::kCommit;
                           },
                           {.use_reserve = true}))
                  .ok());
  EXPECT_EQ(full, (std::vector<bool>{false, true}));
  store_.disk().SetFreeBytes(1 << 20);
  EXPECT_EQ(Add(*ledger, "b"), 1);
}

TEST_F(GuardedPartitionTest, OtherErrorsOfACommitAreTheAnswerAndMemoryIsCheckedBeforeItsNextUse) {
  const auto ledger = Open();
  Add(*ledger, "a");
  Fail({{Code::kUnavailable, true}});  // breaks the store's contract: it happened
  EXPECT_EQ(Add(*ledger, "b"), Error(Code::kUnavailable));
  EXPECT_EQ(*SyncWait(ledger->Look([](const LedgerState& s) { return s.head.count; })), 2u);
}

// ---- owned heads

TEST_F(GuardedPartitionTest, AnOwnerWhoseHeadWasTakenOverIsFenced) {
  const auto first = OpenOwned("one");
  EXPECT_EQ(Add(*first, "a"), 0);
  Fail({{Code::kDeadlineExceeded, true}, {Code::kOk}, {Code::kDeadlineExceeded, false}});
  EXPECT_EQ(Add(*first, "b"), 1);
  EXPECT_EQ(Add(*first, "c"), 2);
  EXPECT_EQ(Add(*first, "d"), 3);
  const auto second = OpenOwned("two");
  EXPECT_EQ(Add(*second, "e"), 4);
  EXPECT_TRUE(first->healthy().ok());  // it has not noticed
  EXPECT_EQ(Add(*first, "f"), Error(Code::kFailedPrecondition));
  EXPECT_EQ(first->healthy().code(), Code::kFailedPrecondition);
  Fail({});
  commits_ = 0;
  EXPECT_EQ(Add(*first, "g"), Error(Code::kFailedPrecondition));
  EXPECT_EQ(commits_, 0);
  EXPECT_EQ(Entries(), "a b c d e");
}

// ---- sharing a commit

// Submits while the first commit is held back, so that the others wait together.
class SharingTest : public GuardedPartitionTest {
 protected:
  void WhileOneCommits(Ledger& ledger, const std::function<void()>& submit) {
    bool once = false;
    ledger.Submit(
        [&](const LedgerState&, const FetchedRows&, LedgerDraft& draft) -> absl::StatusOr<Verdict> {
          draft.Set("first", "x");
          if (!std::exchange(once, true)) submit();
          return Verdict::kCommit;
        },
        {}, [](absl::Status) {});
  }
  void Submit(Ledger& ledger, const std::string& id, ChangeOptions options = {}) {
    uint64_t& position = positions_[id];
    ledger.Submit(AddEntry(id, &position), options, [this, id](absl::Status s) { answers_[id] = s.code(); });
  }
  std::map<std::string, uint64_t> positions_;
  std::map<std::string, Code> answers_;
};

TEST_F(SharingTest, DecidersThatWaitShareACommitInOrder) {
  const auto ledger = Open();
  WhileOneCommits(*ledger, [&] {
    for (const char* id : {"a", "b", "a", "c"}) Submit(*ledger, id);
  });
  EXPECT_EQ(Entries(), "a b c");
  EXPECT_EQ(positions_["a"], 0u);  // the second "a" found the first one's row
  EXPECT_EQ(positions_["c"], 2u);
  EXPECT_EQ(metrics_.commits.Value(), 2);
}

TEST_F(SharingTest, ADuplicateLeavesTheOthersOfItsCommitAlone) {
  const auto ledger = Open();
  Add(*ledger, "b");
  WhileOneCommits(*ledger, [&] {
    for (const char* id : {"a", "b", "c"}) Submit(*ledger, id);
  });
  EXPECT_EQ(Entries(), "b a c");
  EXPECT_EQ(positions_["b"], 0u);
  EXPECT_EQ(answers_["a"], Code::kOk);
}

// An answer that rests on a draft is given only when the draft is committed.
TEST_F(SharingTest, AnAnswerThatSawADraftWaitsForItsCommit) {
  const auto ledger = Open();
  Add(*ledger, "z");
  WhileOneCommits(*ledger, [&] {
    Fail({{Code::kOk}, {Code::kUnavailable}});
    Submit(*ledger, "a");
    Submit(*ledger, "a");
  });
  // The first "a" failed; the second one decided again, alone, and added it.
  EXPECT_EQ(Entries(), "z a");
  EXPECT_EQ(answers_["a"], Code::kOk);
}

TEST_F(SharingTest, WhatIsTooMuchForOneCommitGoesIntoSeveral) {
  const auto ledger = Open();
  Add(*ledger, "z");
  std::vector<Code> codes;
  WhileOneCommits(*ledger, [&] {
    for (int i = 0; i < 30; ++i) {
      ledger->Submit(
          [i](const LedgerState&, const FetchedRows&, LedgerDraft& draft) -> absl::StatusOr<Verdict> {
            for (int k = 0; k < (i == 17 ? 1100 : 90); ++k) draft.Set(absl::StrCat("r/", i, "-", k), "v");
            return Verdict::kCommit;
          },
          {}, [&](absl::Status s) { codes.push_back(s.code()); });
    }
  });
  EXPECT_EQ(std::count(codes.begin(), codes.end(), Code::kOk), 29);
  EXPECT_EQ(std::count(codes.begin(), codes.end(), Code::kInvalidArgument), 1);
  EXPECT_LE(metrics_.commits.Value(), 6);
}

TEST_F(SharingTest, OnAFullStoreOnlyThoseWithTheReserveGoOn) {
  const auto ledger = Open();
  Add(*ledger, "z");
  WhileOneCommits(*ledger, [&] {
    Submit(*ledger, "a");
    Submit(*ledger, "b", {.use_reserve = true});
    Fail({{Code::kOk}, {Code::kResourceExhausted}});
  });
  EXPECT_EQ(Entries(), "z b");
  EXPECT_EQ(answers_["a"], Code::kResourceExhausted);
  EXPECT_EQ(answers_["b"], Code::kOk);
}

TEST_F(SharingTest, LazyChangesWaitForTheTimerOrForOneThatDoesNotWait) {
  ThreadPool pool(1);
  GuardedOptions options = Options();
  options.executor = &pool;
  options.linger = absl::Hours(1);
  options.clock = [] { return absl::Now(); };
  const auto ledger = std::make_shared<Ledger>(options, LedgerModel(store_, partition_));
  Submit(*ledger, "a", {.lazy = true});
  Submit(*ledger, "b", {.lazy = true});
  EXPECT_EQ(Entries(), "");
  EXPECT_EQ(Add(*ledger, "c"), 2);
  EXPECT_EQ(metrics_.commits.Value(), 1);

  options.linger = absl::Milliseconds(1);
  const auto quick = std::make_shared<Ledger>(options, LedgerModel(store_, partition_));
  EXPECT_EQ(Add(*quick, "d", {.lazy = true}), 3);
  pool.Stop();
}

TEST_F(SharingTest, ClosingCommitsWhatWaitsAndRefusesTheRest) {
  ThreadPool pool(1);
  GuardedOptions options = Options();
  options.executor = &pool;
  options.linger = absl::Hours(1);
  const auto ledger = std::make_shared<Ledger>(options, LedgerModel(store_, partition_));
  Submit(*ledger, "a", {.lazy = true});
  SyncWait(ledger->Close(absl::NotFoundError("gone")));
  EXPECT_EQ(answers_["a"], Code::kOk);
  EXPECT_EQ(Entries(), "a");
  Submit(*ledger, "b");
  EXPECT_EQ(answers_["b"], Code::kNotFound);
}

// ---- compared rows: the head belongs to somebody else

class EnqueueModel : public GuardedModel<std::string, Draft> {
 public:
  EnqueueModel(Store& store, Partition partition) : store_(&store), partition_(std::move(partition)) {}
  Task<absl::StatusOr<Loaded<std::string>>> Load(unsigned) {
    ReadRequest request{.partition = partition_, .keys = {"G"}};
    PH_CO_ASSIGN_OR_RETURN(ReadResult read, co_await store_->Read(std::move(request)));
    co_return Loaded<std::string>{read.values[0].value_or(""), read.values[0]};
  }
  void Begin(const std::string&, Draft&) const {}
  absl::StatusOr<SealedDraft> Seal(const std::string&, Draft& draft) {
    SealedDraft sealed;
    const auto key = std::find_if(draft.mutations().begin(), draft.mutations().end(),
                                  [](const Mutation& m) { return absl::StartsWith(m.key, "k/"); });
    sealed.proof = Row{"p/" + key->key, absl::StrCat(draft.nonce())};
    draft.GuardAbsent(sealed.proof->key);
    sealed.cancelled = "cancelled";
    return sealed;
  }
  void Apply(std::string&, Draft&) {}

 private:
  Store* store_;
  Partition partition_;
};

TEST_F(GuardedPartitionTest, AComparedRowIsNotReplacedAndTheProofRowTellsTheOutcome) {
  GuardedOptions options = Options();
  options.kind = GuardKind::kCompareRow;
  options.head_key = "G";
  options.log_prefix.clear();
  Put("G", "1");
  const auto queue = std::make_shared<GuardedPartition<EnqueueModel>>(options, EnqueueModel(store_, partition_));
  const auto enqueue = [&](const std::string& key) {
    return SyncWait(queue->Change(
                        [key](const std::string&, const FetchedRows& rows, Draft& draft) -> absl::StatusOr<Verdict> {
                          if (!rows.Value("k/" + key).empty()) return absl::AlreadyExistsError(key);
                          draft.GuardAbsent("k/" + key);
                          draft.Set("k/" + key, "queued");
                          return Verdict::kCommit;
                        }))
        .code();
  };
  EXPECT_EQ(enqueue("a"), Code::kOk);
  EXPECT_EQ(enqueue("a"), Code::kAlreadyExists);
  Fail({{Code::kDeadlineExceeded, true}});
  EXPECT_EQ(enqueue("b"), Code::kOk);
  Fail({{Code::kDeadlineExceeded, false}});
  EXPECT_EQ(enqueue("c"), Code::kOk);
  // Given up: the place of its proof is taken, so the late commit cannot land.
  Fail({{Code::kDeadlineExceeded, false, absl::Hours(1)}});
  EXPECT_EQ(enqueue("d"), Code::kUnavailable);
  const ReadResult rows = *SyncWait(store_.Read({.partition = partition_, .keys = {"G", "k/d", "p/k/d"}}));
  EXPECT_EQ(rows.values, (std::vector<std::optional<std::string>>{"1", std::nullopt, "cancelled"}));
  Put("G", "2");
  EXPECT_EQ(enqueue("e"), Code::kOk);
}

}  // namespace
}  // namespace posthouse::store
