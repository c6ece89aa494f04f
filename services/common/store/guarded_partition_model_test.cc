// Random deciders of several writers on one partition, over a store that loses answers,
// lands commits late, and kills its clients. One seed is one interleaving: a single thread
// picks which message, timer or process goes next. Afterwards the history is checked: each
// decision took effect once or never, in an order that the answers agree with.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "services/common/async/executor.h"
#include "services/common/async/task.h"
#include "services/common/log/log.h"
#include "services/common/store/guarded_partition.h"
#include "services/common/store/testing/guarded_ledger.h"
#include "services/common/store/testing/memory_store.h"

namespace posthouse::store {
namespace {

// The only thread: runs what is ready in a random order, and timers in virtual time.
class Simulation final : public Executor {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {}

  void Post(absl::AnyInvocable<void()> work) override { ready_.push_back(std::move(work)); }
  uint64_t PostAfter(absl::Duration delay, absl::AnyInvocable<void()> work) override {
    timers_.emplace(now_ + delay, std::move(work));
    return 0;
  }
  bool CancelTimer(uint64_t) override { return false; }

  absl::Time now() const { return now_; }
  uint64_t step() const { return step_; }
  uint64_t Random() { return random_(); }
  bool Chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
  size_t Pick(size_t n) { return random_() % n; }

  // Waits until the scheduler picks this.
  auto Turn() {
    return AwaitCallback<bool>(
        [this](absl::AnyInvocable<void(bool)> done) { Post([done = std::move(done)]() mutable { done(true); }); });
  }
  // False: nothing is left to do.
  bool Step() {
    ++step_;
    if (ready_.empty() && timers_.empty()) return false;
    absl::AnyInvocable<void()> work;
    if (ready_.empty() || (!timers_.empty() && Chance(5))) {
      now_ = std::max(now_, timers_.begin()->first);
      work = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
    } else {
      std::swap(ready_[Pick(ready_.size())], ready_.back());
      work = std::move(ready_.back());
      ready_.pop_back();
      now_ += absl::Microseconds(Pick(500));
    }
    const Scope scope(this);
    work();
    return true;
  }

 private:
  std::mt19937_64 random_;
  absl::Time now_ = absl::UnixEpoch();
  uint64_t step_ = 0;
  std::vector<absl::AnyInvocable<void()>> ready_;
  std::multimap<absl::Time, absl::AnyInvocable<void()>> timers_;
};

// The disk that all processes share.
struct Disk {
  explicit Disk(Simulation& simulation) : sim(simulation) {}
  Simulation& sim;
  MemoryStore rows;
  std::vector<CommitRequest> late;
  bool faulty = true;
  int unknown_percent = 0;
  std::map<absl::StatusCode, int> answers;  // of commits: the test is not blind

  void LandSome(int percent) {
    for (size_t i = 0; i < late.size();) {
      if (!sim.Chance(percent)) {
        ++i;
        continue;
      }
      std::swap(late[i], late.back());
      SyncWait(rows.Commit(std::move(late.back()))).IgnoreError();
      late.pop_back();
    }
  }
};

// One process's way to the disk. Dead: it hears nothing any more, but what it sent may arrive.
class Client final : public Store {
 public:
  explicit Client(Disk& disk) : disk_(disk) {}
  void Kill() { dead_ = true; }

  Task<absl::StatusOr<ReadResult>> Read(ReadRequest request) override {
    co_await disk_.sim.Turn();
    disk_.LandSome(10);
    if (dead_ || (disk_.faulty && disk_.sim.Chance(3))) co_return absl::UnavailableError("no answer");
    absl::StatusOr<ReadResult> result = co_await disk_.rows.Read(std::move(request));
    co_await disk_.sim.Turn();
    if (dead_) co_return absl::UnavailableError("dead");
    co_return result;
  }
  Task<absl::Status> Commit(CommitRequest request) override {
    co_await disk_.sim.Turn();
    disk_.LandSome(10);
    if (dead_ && disk_.sim.Chance(50)) co_return absl::UnavailableError("dead");
    absl::Status status;
    const bool unknown = dead_ || (disk_.faulty && disk_.sim.Chance(disk_.unknown_percent));
    if (!unknown) {
      if (disk_.faulty && disk_.sim.Chance(3)) co_return absl::UnavailableError("refused");
      status = co_await disk_.rows.Commit(std::move(request));
    } else {
      status = absl::DeadlineExceededError("no answer");
      switch (disk_.sim.Pick(3)) {
        case 0:  // it happened
          (co_await disk_.rows.Commit(std::move(request))).IgnoreError();
          break;
        case 1:  // it will, perhaps
          disk_.late.push_back(std::move(request));
          break;
        default:  // it never does
          break;
      }
    }
    ++disk_.answers[status.code()];
    co_await disk_.sim.Turn();
    if (dead_) co_return absl::UnavailableError("dead");
    co_return status;
  }
  Task<absl::Status> Drop(Partition) override { co_return absl::UnimplementedError(""); }
  Task<absl::StatusOr<std::vector<Partition>>> List(std::string, std::string, std::string, size_t) override {
    co_return absl::UnimplementedError("");
  }
  Task<absl::StatusOr<CapacityInfo>> Capacity() override { return disk_.rows.Capacity(); }
  absl::Status Health() override { return absl::OkStatus(); }
  EngineLimits Limits() const override { return {}; }
  BlobStore& blobs() override { return disk_.rows.blobs(); }

 private:
  Disk& disk_;
  bool dead_ = false;
};

const Partition kPartition{"t", "ledger"};

struct Process {
  std::unique_ptr<Client> store;
  std::shared_ptr<Ledger> ledger;
  std::string owner;  // "": any writer may
  bool alive = true;
};

// The answer to one call of a client.
struct Attempt {
  std::vector<std::string> ids;  // added together
  uint64_t asked = 0, answered = 0;
  bool heard = false;  // its process lived to hear the answer
  absl::Status status;
  uint64_t position = 0;  // of ids[0]
};

class World {
 public:
  World(uint64_t seed, bool owned) : sim_(seed), disk_(sim_), owned_(owned) {
    disk_.unknown_percent = static_cast<int>(sim_.Pick(4)) * 10;
    const size_t processes = 1 + sim_.Pick(3);
    for (size_t i = 0; i < processes; ++i) Start();
    for (size_t i = 0; i < 2 + sim_.Pick(3); ++i) Spawn(sim_, RunClient(12));
    if (sim_.Chance(60)) Spawn(sim_, KillSome());
  }

  void Run() {
    while (sim_.Step()) {
      if (sim_.step() > 2000) disk_.faulty = false;
      ASSERT_LT(sim_.step(), 200'000u) << "a change never ends";
    }
    // A late commit lands now, or never.
    disk_.faulty = false;
    disk_.LandSome(50);
    Check();
  }

  const Disk& disk() const { return disk_; }

 private:
  void Start() {
    auto process = std::make_shared<Process>();
    process->store = std::make_unique<Client>(disk_);
    GuardedOptions options;
    options.store = process->store.get();
    options.partition = kPartition;
    options.executor = &sim_;
    options.linger = absl::Milliseconds(sim_.Pick(5));
    options.max_batch = 1 + sim_.Pick(5);
    options.clock = [this] { return sim_.now(); };
    options.random = [this] { return sim_.Random(); };
    options.patience = absl::Seconds(60);
    std::string& owner = process->owner;
    if (owned_) {
      owner = absl::StrCat("owner", ++owners_);
      options.kind = GuardKind::kOwnedHead;
    } else {
      options.log_prefix = "q/";
    }
    process->ledger = std::make_shared<Ledger>(options, LedgerModel(*process->store, kPartition, owner));
    processes_.push_back(process);
    if (owned_) Spawn(sim_, Claim(process, owner));
  }
  static Task<void> Claim(std::shared_ptr<Process> process, std::string owner) {
    (co_await process->ledger->Change([&](const LedgerState& state, const FetchedRows&,
                                          LedgerDraft& draft) -> absl::StatusOr<Verdict> {
      draft.head.epoch = state.head.epoch + 1;
      draft.head.owner = owner;
      draft.claims = true;
      return Verdict::kCommit;
    })).IgnoreError();
  }

  Task<void> KillSome() {
    for (int i = 0; i < 2; ++i) {
      co_await Sleep(absl::Milliseconds(1 + sim_.Pick(60)));
      std::shared_ptr<Process>& victim = processes_[sim_.Pick(processes_.size())];
      victim->alive = false;
      victim->store->Kill();
      graves_.push_back(victim);
      std::swap(victim, processes_.back());
      processes_.pop_back();
      Start();
    }
  }

  Task<void> RunClient(int calls) {
    for (int i = 0; i < calls; ++i) {
      // A call whose outcome is not known is repeated under its id, at any process.
      if (!open_.empty() && sim_.Chance(50)) {
        const std::vector<std::string> ids = std::move(open_.back());
        open_.pop_back();
        co_await Add(ids);
      } else if (sim_.Chance(15)) {
        co_await LookAtEntries();
      } else {
        std::vector<std::string> ids = {absl::StrCat("id", ++ids_)};
        if (sim_.Chance(25)) ids.push_back(ids[0] + "b");
        co_await Add(ids);
      }
    }
  }

  ChangeOptions RandomOptions() {
    ChangeOptions options;
    if (sim_.Chance(30)) options.deadline = sim_.now() + absl::Milliseconds(sim_.Pick(20));
    options.lazy = sim_.Chance(20);
    options.fresh = sim_.Chance(20);
    options.parts = sim_.Chance(30) ? LedgerModel::kEntries : 0;
    return options;
  }

  // Adds `ids` next to each other, or finds them.
  Task<void> Add(std::vector<std::string> ids) {
    const std::shared_ptr<Process> process = processes_[sim_.Pick(processes_.size())];
    Attempt attempt{.ids = ids, .asked = sim_.step()};
    const ChangeOptions options = RandomOptions();
    const bool reads_first = sim_.Chance(30);
    attempt.status = co_await process->ledger->Change(
        [&](const LedgerState& state, const FetchedRows& rows, LedgerDraft& draft) -> absl::StatusOr<Verdict> {
          if (!process->owner.empty() && draft.head.owner != process->owner)
            return absl::UnavailableError("no owner yet");
          if (reads_first && rows.Find(LedgerModel::EntryKey(ids[0])) == nullptr) {
            return draft.Need({LedgerModel::EntryKey(ids[0])});
          }
          if (state.entries.has_value()) EXPECT_EQ(state.entries->size(), state.head.count);
          // All or none are there. Rows that another decider asked for show, too.
          for (const std::string& id : ids) {
            if (rows.Value(LedgerModel::EntryKey(id)).empty()) continue;
            if (rows.Find(LedgerModel::EntryKey(ids[0])) == nullptr) return draft.Need({LedgerModel::EntryKey(ids[0])});
            return AddEntry(ids[0], &attempt.position)(state, rows, draft);
          }
          for (const std::string& id : ids) {
            uint64_t position = 0;
            PH_RETURN_IF_ERROR(AddEntry(id, &position)(state, rows, draft));
            if (id == ids[0]) attempt.position = position;
          }
          return Verdict::kCommit;
        },
        options);
    attempt.answered = sim_.step();
    attempt.heard = process->alive;
    if (!attempt.heard || absl::IsDeadlineExceeded(attempt.status) || absl::IsFailedPrecondition(attempt.status)) {
      open_.push_back(ids);
    }
    attempts_.push_back(std::move(attempt));
  }

  // Rows and state are of one instant, and the state of a fresh look is not old.
  Task<void> LookAtEntries() {
    const std::shared_ptr<Process> process = processes_[sim_.Pick(processes_.size())];
    const uint64_t least = Acknowledged();
    uint64_t count = 0;
    std::string last, row;
    const absl::Status status = co_await process->ledger->Change(
        [&](const LedgerState& state, const FetchedRows& rows, LedgerDraft& draft) -> absl::StatusOr<Verdict> {
          // From the draft: what earlier deciders of this commit added counts, if it lands.
          count = draft.head.count;
          last.clear();
          row.clear();
          if (state.entries->empty()) return Verdict::kDone;
          const std::string key = LedgerModel::EntryKey(state.entries->back());
          if (rows.Find(key) == nullptr) return draft.Need({key});
          last = absl::StrCat(state.entries->size() - 1);
          row = std::string(rows.Value(key));
          return Verdict::kDone;
        },
        {.fresh = true, .parts = LedgerModel::kEntries});
    if (!status.ok() || !process->alive) co_return;
    EXPECT_EQ(row, last);
    EXPECT_GE(count, least) << "a fresh look missed an acknowledged change";
  }

  // Entries that the ledger certainly has now.
  uint64_t Acknowledged() const {
    uint64_t count = 0;
    for (const Attempt& a : attempts_) {
      if (a.heard && a.status.ok()) count = std::max(count, a.position + a.ids.size());
    }
    return count;
  }

  void Check() {
    LedgerModel model(disk_.rows, kPartition);
    const absl::StatusOr<Loaded<LedgerState>> loaded = SyncWait(model.Load(LedgerModel::kEntries));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const std::vector<std::string>& entries = *loaded->state.entries;
    ASSERT_EQ(entries.size(), loaded->state.head.count);
    std::map<std::string, uint64_t> position_of;
    for (size_t i = 0; i < entries.size(); ++i) position_of[entries[i]] = i;
    ASSERT_EQ(position_of.size(), entries.size());
    std::set<std::string> maybe;  // asked for without a definite "no"
    for (const Attempt& a : attempts_) {
      const bool no =
          a.heard && !a.status.ok() && !absl::IsDeadlineExceeded(a.status) && !absl::IsFailedPrecondition(a.status);
      if (!no) maybe.insert(a.ids[0]);
      for (size_t i = 1; i < a.ids.size() && position_of.contains(a.ids[0]); ++i) {
        EXPECT_EQ(position_of[a.ids[i]], position_of[a.ids[0]] + i) << "half of a change";
      }
      if (!a.heard || !a.status.ok()) continue;
      ASSERT_TRUE(position_of.contains(a.ids[0])) << a.ids[0] << " was acknowledged and is lost";
      EXPECT_EQ(position_of[a.ids[0]], a.position);
    }
    for (const std::string& id : entries) {
      const std::string first = id.back() == 'b' ? id.substr(0, id.size() - 1) : id;
      EXPECT_TRUE(maybe.contains(first)) << id << " was refused and is there";
    }
    // A change answered before another was asked stands before it.
    for (const Attempt& a : attempts_) {
      for (const Attempt& b : attempts_) {
        if (!a.heard || !b.heard || !a.status.ok() || !b.status.ok() || a.answered >= b.asked) continue;
        const bool repeated = std::any_of(attempts_.begin(), attempts_.end(), [&](const Attempt& c) {
          return c.ids[0] == b.ids[0] && c.asked < a.answered;
        });
        if (!repeated) EXPECT_LT(a.position, b.position) << a.ids[0] << " before " << b.ids[0];
      }
    }
    // Every live writer's memory becomes what the store has.
    for (const std::shared_ptr<Process>& process : processes_) {
      std::optional<absl::StatusOr<std::vector<std::string>>> seen;
      const auto look = [](std::shared_ptr<Process> p, auto* out) -> Task<void> {
        out->emplace(co_await p->ledger->Look([](const LedgerState& s) { return *s.entries; },
                                              {.fresh = true, .parts = LedgerModel::kEntries}));
      };
      Spawn(sim_, look(process, &seen));
      while (sim_.Step()) {
      }
      ASSERT_TRUE(seen.has_value());
      if (!seen->ok() && owned_ && absl::IsFailedPrecondition(seen->status())) continue;
      ASSERT_TRUE(seen->ok()) << seen->status();
      EXPECT_EQ(absl::StrJoin(**seen, " "), absl::StrJoin(entries, " "));
    }
  }

  Simulation sim_;
  Disk disk_;
  const bool owned_;
  int owners_ = 0;
  int ids_ = 0;
  std::vector<std::shared_ptr<Process>> processes_;
  std::vector<std::shared_ptr<Process>> graves_;
  std::vector<std::vector<std::string>> open_;
  std::vector<Attempt> attempts_;
};

void RunSeeds(bool owned, uint64_t seeds) {
  log::SetLevel(log::Level::kError);
  std::map<absl::StatusCode, int> answers;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    World world(seed, owned);
    world.Run();
    ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
    for (const auto& [code, n] : world.disk().answers) answers[code] += n;
  }
  EXPECT_GT(answers[absl::StatusCode::kOk], static_cast<int>(seeds));
  EXPECT_GT(answers[absl::StatusCode::kAborted], static_cast<int>(seeds));
  EXPECT_GT(answers[absl::StatusCode::kDeadlineExceeded], static_cast<int>(seeds));
}

TEST(GuardedPartitionModelTest, WritersOfOneHead) { RunSeeds(/*owned=*/false, 700); }

TEST(GuardedPartitionModelTest, OwnersThatTakeOver) { RunSeeds(/*owned=*/true, 300); }

}  // namespace
}  // namespace posthouse::store
